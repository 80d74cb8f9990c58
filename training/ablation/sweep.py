"""Sweeps: a YAML file that says what is varied, and around what. Unknown keys are errors.

    question: How many tokens does a medium need?
    base: base.yaml                  # another sweep file whose keys count where this one is silent
    recipe: demo                     # a shipped recipe, or a file beside the sweep
    changes: {dtype: float32}        # of the recipe, in every run
    axes:
      tokens: {key: modalities.*.projector.tokens, values: [1, 4, 16]}
      start:
        random: {modalities.*.initialisation: {type: random}}
        ridge: {modalities.*.initialisation: {type: ridge}}

Every combination of the axes is a setting, trained once per seed. The key `share` is no recipe's: it is the share of
the training samples.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from model.errors import ConfigurationError
from model.fields import check_choice, check_range, from_mapping
from training.ablation.changes import changed
from training.ablation.subset import Subset
from training.precision import resolve
from training.recipe import RECIPES, parse_recipe

SWEEPS = Path(__file__).parent / "sweeps"
SHARE = "share"
# What the plot of a sweep has on its horizontal axis.
TRAINING_TOKENS, TOKENS_PER_MEDIUM, SETTING = "training tokens", "tokens per medium", "setting"
Axis = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One question, and the settings that are trained to answer it."""

    name: str = ""
    """The file's."""
    question: str = ""
    recipe: str = ""
    """A shipped recipe's name, or a file; relative to the sweep's folder."""
    folder: str = ""
    """The sweep's."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Path -> value, in every run."""
    axes: dict[str, Any] = field(default_factory=dict)
    """Name -> label -> changes; or name -> `key` and `values`."""
    baseline: dict[str, Any] = field(default_factory=dict)
    """Axis -> label of the setting that the others are compared with; axes left out are compared label by label."""
    x: str = SETTING
    """Horizontal axis of the plot: `training tokens`, `tokens per medium` or `setting`."""
    share: float = 1.0
    """Share of the training samples where no axis says otherwise."""
    tasks: list[str] = field(default_factory=list)
    """Tasks that are trained and asked about; all of the recipe's sources by default."""
    samples: int | None = None
    """Most training samples per task, at a share of 1."""
    test: int | None = None
    """Most test samples per task."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Each setting is trained once with each: of the run, and of the choice of its samples."""

    def __post_init__(self) -> None:
        check_choice("x", self.x, (TRAINING_TOKENS, TOKENS_PER_MEDIUM, SETTING))
        check_range(SHARE, self.share, 0.0001, 1)
        for name in ("samples", "test"):
            if (value := getattr(self, name)) is not None:
                check_range(name, value, 1, 1 << 30)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigurationError(f"seeds: {self.seeds} must be at least one, and none of them twice")
        for name in self.axes:
            self.axis(name)
        for name, label in self.baseline.items():
            if name not in self.axes or str(label) not in self.axis(name):
                raise ConfigurationError(f"baseline.{name}: {label!r} is no label of an axis of this sweep")

    def axis(self, name: str) -> Axis:
        """Label -> changes of one axis.

        Raises:
            ConfigurationError: neither labels with changes, nor a key with values.
        """
        values = self.axes[name]
        if isinstance(values, Mapping) and set(values) == {"key", "values"}:
            key, choices = values["key"], values["values"]
            if isinstance(key, str) and isinstance(choices, list) and choices:
                labelled = {str(choice): {key: choice} for choice in choices}
                if len(labelled) == len(choices):
                    return labelled
        elif isinstance(values, Mapping) and values and all(isinstance(v, Mapping) for v in values.values()):
            return {str(label): dict(changes) for label, changes in values.items()}
        raise ConfigurationError(
            f"axes.{name}: expected a mapping of labels to changes, or key and values, none of them twice"
        )

    def settings(self) -> list["Setting"]:
        """Every combination of the axes, the last axis the fastest.

        Raises:
            ConfigurationError: one that is no recipe that can work, by its labels.
        """
        values, folder = self._recipe()
        found = []
        names = list(self.axes)
        for labels in itertools.product(*(self.axis(name) for name in names)):
            chosen = dict(zip(names, labels, strict=True))
            where = f"{self.name}: {', '.join(f'{k} {v}' for k, v in chosen.items()) or 'base'}"
            changes = dict(self.changes)
            for name, label in chosen.items():
                changes = _later(changes, self.axis(name)[label])
            share = changes.pop(SHARE, self.share)
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                raise ConfigurationError(f"{where}: {SHARE}: {share!r} is not above 0 and at most 1")
            recipe = changed(values, changes, where=where)
            # A setting that cannot work is found before the first is trained.
            sources = parse_recipe(recipe, where=where, folder=folder).sources
            subset = Subset(sources, self.tasks, self.samples, float(share), self.test)
            found.append(Setting(sweep=self.name, labels=chosen, recipe=recipe, folder=str(folder), subset=subset))
        return found

    def _recipe(self) -> tuple[dict[str, Any], Path]:
        """The decoded base recipe and its folder."""
        path = Path(self.folder, self.recipe)
        if not path.suffix and not path.is_file():
            path = RECIPES / f"{self.recipe}.yaml"
        return _read(path, "recipe"), path.parent


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One combination of choices: a recipe, and the data it is trained on."""

    sweep: str
    labels: dict[str, str]
    """Axis -> label."""
    recipe: dict[str, Any]
    """Decoded."""
    folder: str
    """Where the recipe's relative paths start."""
    subset: Subset

    @property
    def name(self) -> str:
        """The labels, in words."""
        return ", ".join(f"{axis} {label}" for axis, label in self.labels.items()) or "base"

    def seeded(self, seed: int) -> "Setting":
        """The setting with the seed of one run, and the precision that `auto` is here: another one is another trial."""
        recipe = {**self.recipe, "seed": seed}
        if "dtype" in recipe:
            recipe["dtype"] = resolve(recipe["dtype"])
        return replace(self, recipe=recipe, subset=replace(self.subset, seed=seed))

    def identity(self, corpus: str) -> str:
        """What tells trials apart: equal settings of different sweeps are one; `corpus` is a hash of all samples."""
        content = [self.recipe, self.subset.values(), corpus]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep file; a bare name is one of the shipped sweeps.

    Raises:
        ConfigurationError: by file and key.
    """
    if not path.suffix and not path.is_file():
        path = SWEEPS / f"{path}.yaml"
    values = _inherited(path, ())
    for key in ("name", "folder"):
        if key in values:
            raise ConfigurationError(f"{path.name}: unknown key {key!r}")
    # Relative to the file that names it.
    sweep = from_mapping(Sweep, {**values, "name": path.stem, "folder": str(path.parent)}, where=path.name)
    if not sweep.recipe:
        raise ConfigurationError(f"{path.name}: missing key 'recipe'")
    return sweep


def _inherited(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a sweep file over those of its `base`; the `changes` of both count."""
    values = _read(path, "sweep")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or path in below:
        raise ConfigurationError(f"{path.name}: base: {base!r} is not another sweep file beside this one")
    under = _inherited(path.parent / base, (*below, path))
    for file, changes in ((base, under.get("changes", {})), (path.name, values.get("changes", {}))):
        if not isinstance(changes, Mapping):
            raise ConfigurationError(f"{file}: changes: expected a mapping")
    return {**under, **values, "changes": _later(under.get("changes", {}), values.get("changes", {}))}


def _later(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Both, those of `then` last: the order is the one in which they are made."""
    return {path: value for path, value in first.items() if path not in then} | dict(then)


def _read(path: Path, kind: str) -> dict[str, Any]:
    folder = SWEEPS if kind == "sweep" else RECIPES
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); shipped {kind}s are {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path.name}: expected a mapping")
    return values
