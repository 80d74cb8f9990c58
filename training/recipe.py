"""Recipes: a YAML file that says what a model is made of and how it is trained. Unknown keys are errors.

Everything that can be checked without weights and data is checked here, before any of them is fetched.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from model.adapter import ALWAYS, AdapterConfig
from model.checkpoint import Part
from model.encoders import encoder_config
from model.errors import ConfigurationError
from model.fields import check_choice, check_range, from_mapping
from model.projectors import projector_config

RECIPES = Path(__file__).parent / "recipes"
# The source of synthetic features of the encoders' own classes, made by the run and not by a corpus.
CONCEPTS = "concepts"


@dataclass(frozen=True, kw_only=True)
class Concepts:
    """One group of named concepts to start from: the encoder's own classes, or labelled tasks of the corpus."""

    names: str | None = None
    """File beside the recipe with the names of the encoder's own classes, one per line."""
    tasks: list[str] = field(default_factory=list)
    """Tasks whose labels are the concepts; a linear probe is fitted on their training media."""
    slot: int = 0
    """First soft token the name is written to."""
    sharpness: float = 1.0
    """Factor on the scores: above 1 the most probable concept speaks louder than the encoder's own confidence."""
    silent: bool = True
    """With `tasks`: whether the group says nothing about media of other sources; if not, it always names one."""
    per_class: int = 0
    """With `names`: synthetic feature vectors per class to train on."""

    def __post_init__(self) -> None:
        if (self.names is None) == (not self.tasks):
            raise ConfigurationError("names: give either names or tasks")
        if self.per_class and self.names is None:
            raise ConfigurationError("per_class: goes with names; the media of tasks are in the corpus")
        check_range("slot", self.slot, 0, 4096)
        check_range("sharpness", self.sharpness, 0.01, 100)
        check_range("per_class", self.per_class, 0, 10_000)


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """How a projector starts."""

    type: str = "random"
    """`random`, `ridge` (closed form to the answer's first tokens) or `names`."""
    concepts: list[Concepts] = field(default_factory=list)
    """For `names`: one softmax group each."""

    def __post_init__(self) -> None:
        check_choice("type", self.type, ("random", "ridge", "names"))
        if bool(self.concepts) != (self.type == "names"):
            raise ConfigurationError("concepts: go with type names, and names needs at least one group")


@dataclass(frozen=True, kw_only=True)
class ModalityRecipe:
    """One modality: a frozen encoder, its weights, and the projector to train."""

    source: str
    sha256: str
    encoder: dict[str, Any]
    projector: dict[str, Any]
    initialisation: Initialisation = field(default_factory=Initialisation)
    placeholder: str | None = None

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

    def entry(self, groups: Sequence[int]) -> dict[str, Any]:
        """The modality as `model.checkpoint.build_config` takes it, with so many concepts in each group."""
        projector = {**self.projector, "groups": list(groups)} if groups else dict(self.projector)
        entry: dict[str, Any] = {"encoder": self.encoder, "projector": projector}
        return entry if self.placeholder is None else {**entry, "placeholder": self.placeholder}

    @property
    def part(self) -> Part:
        """The encoder's weights."""
        return Part(source=self.source, sha256=self.sha256)


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """One corpus source and how often its samples are seen."""

    source: str
    """Folder of the corpus that holds `train.jsonl`; `concepts`: synthetic features of the encoders' classes."""
    passes: float = 1.0
    """Times each sample is seen; a fraction takes a random part."""
    turns: int = 1
    """Up to this many samples are asked one after the other in one conversation."""

    def __post_init__(self) -> None:
        check_range("passes", self.passes, 0.001, 1000)
        check_range("turns", self.turns, 1, 64)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training stage."""

    name: str
    learning_rates: dict[str, float]
    """Pattern of parameter names, such as `projectors.*` or `language_model.*.lora_*` -> peak learning rate; what no
    pattern matches stays frozen."""
    data: list[Mixture]
    max_length: int = 128
    """Longest conversation in tokens; longer samples are an error."""
    batch_tokens: int = 2048
    """Tokens per step, padding included."""
    warmup: float = 0.03
    """Share of the steps with a rising learning rate; a cosine to zero follows."""
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_range("max_length", self.max_length, 16, 1 << 20)
        check_range("batch_tokens", self.batch_tokens, self.max_length, 1 << 24)
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise ConfigurationError(f"name: {self.name!r} names a folder; use letters, digits, '-', '_' and '.'")
        for pattern, rate in self.learning_rates.items():
            check_range(f"learning_rates.{pattern}", rate, 0.0, 10.0)
        check_range("warmup", self.warmup, 0.0, 0.5)
        check_range("weight_decay", self.weight_decay, 0.0, 1.0)
        if not self.data or not self.learning_rates:
            raise ConfigurationError("data, learning_rates: a stage needs both")
        sources = [mixture.source for mixture in self.data]
        if len(set(sources)) != len(sources):
            raise ConfigurationError(f"data: a source stands there twice: {', '.join(sources)}; use passes")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole recipe."""

    llm: Part
    modalities: dict[str, ModalityRecipe]
    stages: list[Stage]
    adapter: AdapterConfig | None = None
    """A LoRA adapter of the language model; a stage trains it where a learning rate matches its names."""
    dtype: str = "bfloat16"
    """Of the language model while training."""
    compile: bool = False
    """Compile the language model's layers: about twice as fast on a CPU, after a minute or two."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, ("float32", "bfloat16", "float16"))
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

    @property
    def adapter_scope(self) -> str:
        """When the adapter is active."""
        return ALWAYS if self.adapter is None else self.adapter.scope

    @property
    def sources(self) -> list[str]:
        """The corpus sources of all stages, in order of appearance."""
        named = dict.fromkeys(mixture.source for stage in self.stages for mixture in stage.data)
        return [name for name in named if name != CONCEPTS]

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
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); shipped recipes are {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML ({error})") from None
    return parse_recipe(values, where=path.name, folder=path.parent)


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
        parsed["stages"] = [_stage(v, f"{where}: stages[{i}]") for i, v in enumerate(values["stages"])]
    return from_mapping(Recipe, parsed, where=where)


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
    concepts = from_mapping(Concepts, values, where=where)
    if concepts.names is None:
        return concepts
    path = (folder / concepts.names).resolve()
    if not path.is_file():
        raise ConfigurationError(f"{where}.names: {path} does not exist")
    return replace(concepts, names=str(path))


def _stage(values: Any, where: str) -> Stage:
    if isinstance(values, dict) and isinstance(values.get("data"), list):
        data = [from_mapping(Mixture, v, where=f"{where}.data[{i}]") for i, v in enumerate(values["data"])]
        values = {**values, "data": data}
    return from_mapping(Stage, values, where=where)
