"""Better scores for the concepts of a projector whose meaning is already trained.

A group of concepts scores its classes in the first layer and holds what each of them means to the language model in the
second. Training needs scores that are soft enough for gradients; an answer is best served by the most accurate scores
there are, and by one concept that speaks alone. Since the language model reads what the second layer says, the first
may be fitted again afterwards, in closed form and in seconds, for the same concepts in the same order.

`training.run` does so after the last stage where a recipe asks for it (`refit`); `quartet refit` does it to a
checkpoint, with a recipe that says more than the one it was trained with, or a corpus that holds more.
"""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from model.adapter import ADAPTER
from model.checkpoint import Checkpoint
from model.configuration import QuartetConfig
from model.errors import CheckpointError, ConfigurationError
from model.projectors.mlp import NO_GATE, Mlp
from training.concepts import concept_group, concept_names, dreamed_samples
from training.data import Sample
from training.initialise import ConceptGroup, group_slices
from training.parts import Parts, prepare
from training.recipe import Recipe


@dataclass(frozen=True)
class Rescaled:
    """A group of concepts that keeps its scores, times `factor` and plus `offset` `[concepts]`."""

    names: list[str | None]
    factor: float
    offset: Tensor


Groups = Sequence[ConceptGroup | Rescaled | None]
Finals = Mapping[str, Groups]


def wanted(recipe: Recipe) -> list[str]:
    """The modalities with a group of concepts that is to be fitted again."""
    return [name for name, m in recipe.modalities.items() if any(c.refit for c in m.initialisation.concepts)]


def final_groups(parts: Parts, dreams: Sequence[Sample] = (), record: Mapping[str, Any] | None = None) -> Finals:
    """By modality, each group of concepts with the scores it is to have in the end; None where it keeps those it has.

    Args:
        parts: with all training media in its feature caches.
        dreams: synthetic media of the encoders' own classes.
        record: the training record of a checkpoint whose scores these take the place of; by default they are the
            recipe's own.

    Raises:
        ConfigurationError, DataError: as `concept_groups`.
    """
    recipe, earlier = parts.recipe, fitted_scales(record or {})
    return {
        name: [
            _final(parts, name, index, dreams, earlier.get(name, {}).get(index) or Scale(concepts.sharpness, 0.0))
            for index, concepts in enumerate(recipe.modalities[name].initialisation.concepts)
        ]
        for name in wanted(recipe)
    }


class Scale(NamedTuple):
    """How sharp the scores of a group are, and how much is added to that of saying nothing, in units of its scores."""

    sharpness: float
    silence: float


def fitted_scales(record: Mapping[str, Any]) -> dict[str, dict[int, Scale]]:
    """By modality and number, groups whose scores were fitted or scaled again, by a checkpoint's training record."""
    earlier = record.get("start") or next(iter(record.get("average", [])), None)
    found = fitted_scales(earlier) if earlier else {}
    for name, groups in record.get("refit", {}).get("groups", {}).items():
        scales = {index: Scale(**scale) for index, scale in enumerate(groups) if scale}
        found[name] = found.get(name, {}) | scales
    return found


def refit_record(recipe: Recipe, media: Mapping[str, int], **more: str) -> dict[str, Any]:
    """What a checkpoint remembers of a refit: the number of training media, and how sharp the scores of groups are."""
    names = wanted(recipe)
    groups = {
        name: [
            Scale(group.refit.sharpness, group.refit.silence)._asdict() if group.refit else None
            for group in recipe.modalities[name].initialisation.concepts
        ]
        for name in names
    }
    return {**more, "media": {name: media[name] for name in names}, "groups": groups}


def _final(
    parts: Parts, modality: str, index: int, dreams: Sequence[Sample], given: Scale
) -> ConceptGroup | Rescaled | None:
    final = parts.recipe.modalities[modality].initialisation.concepts[index].refit
    if final is None:
        return None
    if final.fit:
        return concept_group(parts, modality, index, dreams, refit=True)
    names = concept_names(parts, modality, index, dreams)
    silence = (final.silence - given.silence) * final.sharpness
    return Rescaled(names, final.sharpness / given.sharpness, silence * torch.tensor([float(n is None) for n in names]))


def rescored(
    config: QuartetConfig, projectors: nn.ModuleDict, finals: Finals
) -> tuple[QuartetConfig, nn.ModuleDict]:  # fmt: skip
    """The configuration and projectors with these scores; the given ones are left as they are.

    Raises:
        CheckpointError: a projector has other groups: what its second layer holds means other things.
    """
    values = config.to_dict()
    old = {name: _same_groups(projectors[name], groups, name) for name, groups in finals.items()}
    for name, groups in finals.items():
        size = len(_kept_units(old[name], groups))
        size += sum(len(group.units[1]) for group in groups if isinstance(group, ConceptGroup) and group.units)
        values["modalities"][name]["projector"].pop("score_size", None)
        values["modalities"][name]["projector"] |= {"score_size": size} if size else {}
    config = QuartetConfig.from_dict(values)
    made = {name: projectors[name] for name in projectors}
    for name, groups in finals.items():
        new = config.modality_specs[name].build_projector(config.hidden_size)
        assert isinstance(new, Mlp)
        write_scores(old[name], groups, new)
        made[name] = new
    return config, nn.ModuleDict(made)


def _same_groups(old: nn.Module, groups: Groups, name: str) -> Mlp:
    """The projector of a modality, of these groups: what its second layer holds means what they name."""
    given = old.config.groups if isinstance(old, Mlp) else []
    sizes = [len(group.names) if group else size for group, size in zip_longest(groups, given[: len(groups)])]
    if not isinstance(old, Mlp) or given != sizes:
        raise CheckpointError(
            f"projector of {name}: its groups of concepts ({given}) are not those of the recipe and the corpus "
            f"({sizes}); refit with those it was trained with"
        )
    return old


def _dim(projector: Mlp) -> int:
    return projector.first.in_features - (projector.config.score_size or 0)


def _kept_units(old: Mlp, groups: Groups) -> Tensor:
    """Numbers of the hidden units that groups are scored by which keep their scores."""
    weight = old.first.weight.detach()[:, _dim(old) :]
    used = torch.zeros(weight.shape[1], dtype=torch.bool)
    for rows, group in zip(group_slices(old.config.groups), groups, strict=True):
        if not isinstance(group, ConceptGroup):
            used |= (weight[rows] != 0).any(dim=0)
    return used.nonzero().flatten()


@torch.no_grad()
def write_scores(old: Mlp, groups: Groups, new: Mlp) -> None:
    """All of `old` into `new`, but for the scores of `groups`."""
    shared = {part: tensor for part, tensor in old.state_dict().items() if not part.startswith(("first.", "units."))}
    new.load_state_dict(shared, strict=False)
    dim, kept = _dim(old), _kept_units(old, groups)
    if len(kept):
        new.units.weight[: len(kept)], new.units.bias[: len(kept)] = old.units.weight[kept], old.units.bias[kept]
    new.first.weight.zero_()
    column = len(kept)
    for rows, group in zip(group_slices(old.config.groups), groups, strict=True):
        if not isinstance(group, ConceptGroup):
            factor, offset = (1.0, 0.0) if group is None else (group.factor, group.offset)
            new.first.weight[rows, :dim] = old.first.weight[rows, :dim] * factor
            new.first.weight[rows, dim : dim + len(kept)] = old.first.weight[rows, dim:][:, kept] * factor
            new.first.bias[rows] = old.first.bias[rows] * factor + offset
            continue
        new.first.bias[rows] = group.bias
        if group.units is None:
            new.first.weight[rows, :dim] = group.weight
            continue
        columns = slice(column, column + len(group.units[1]))
        column = columns.stop
        new.units.weight[columns], new.units.bias[columns] = group.units
        new.first.weight[rows, dim + columns.start : dim + columns.stop] = group.weight


def refit(checkpoint: Checkpoint, recipe: Recipe, corpus: Path, output: Path, *, command: str = "") -> Checkpoint:
    """Fit the scores of a checkpoint's concepts again and write the result to another directory.

    Args:
        checkpoint: made with the parts, the concepts and the corpus that `recipe` names.
        recipe: says what is fitted again.
        corpus: holds `<source>/train.jsonl`.
        output: directory of the new checkpoint; made if missing.
        command: recorded in the new checkpoint, beside the record of the training.

    Raises:
        ConfigurationError: the recipe asks for nothing to be fitted again.
        CheckpointError: the checkpoint has other parts or concepts, or lies in `output`.
        DataError, SourceError: as `training.run.run`.
    """
    if not wanted(recipe):
        raise ConfigurationError("initialisation.concepts: no group says `refit`, so there is nothing to fit again")
    if output.resolve() == checkpoint.directory.resolve():
        raise CheckpointError(f"{output}: is the checkpoint itself; give another --output")
    check_parts(checkpoint, recipe)
    check_order(checkpoint, recipe)
    parts = prepare(recipe, corpus)
    projectors = checkpoint.config.build_projectors()
    projectors.load_state_dict(checkpoint.projector_state())
    with TemporaryDirectory() as folder:
        finals = final_groups(parts, dreamed_samples(parts, Path(folder)), checkpoint.provenance.training)
    config, projectors = rescored(checkpoint.config, projectors, finals)
    media = {name: len(parts.media(name)) for name in finals}
    before = checkpoint.provenance.training
    # What was fitted again before has a record of its own.
    record = {"command": command, "start": before} if "refit" in before else before
    record = {**record, "refit": refit_record(recipe, media, command=command)}
    provenance = dataclasses.replace(checkpoint.provenance, training=record)
    output.mkdir(parents=True, exist_ok=True)
    if checkpoint.adapter is not None:
        shutil.copytree(checkpoint.adapter, output / ADAPTER, dirs_exist_ok=True)
    return Checkpoint.save(output, config, projectors, provenance, dtype=torch.float16)


def check_order(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Refuse a checkpoint with other groups behind others than the recipe's: what they mean was learned that way.

    Raises:
        CheckpointError: names the modality.
    """
    for name in wanted(recipe):
        concepts = recipe.modalities[name].initialisation.concepts
        asked = [index for index, group in enumerate(concepts) if group.behind is not None]
        gates = checkpoint.config.modalities[name]["projector"].get("gates", [])
        given = [index for index, gate in enumerate(gates) if gate != NO_GATE]
        if asked != given:
            raise CheckpointError(
                f"projector of {name}: its groups {given} are behind others, the recipe says {asked}; refit with the "
                "recipe it was trained with"
            )


def check_parts(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Refuse a checkpoint of other frozen parts than the recipe's: its concepts would be scored on other features.

    Raises:
        CheckpointError: names the part.
    """
    given = {name: part.sha256 for name, part in checkpoint.provenance.parts.items()}
    asked = {"llm": recipe.llm.sha256, **{name: m.sha256 for name, m in recipe.modalities.items()}}
    for name in sorted(set(given) | set(asked)):
        if given.get(name) != asked.get(name):
            raise CheckpointError(
                f"{checkpoint.directory}: {name} has sha256 {given.get(name)}, the recipe asks for {asked.get(name)}; "
                "refit with the recipe it was trained with"
            )
