"""A run that goes on from a checkpoint: its projectors and adapter instead of new ones.

So the stages of a long recipe may be trained one at a time, a mean of runs may be trained on, and a model that is
served may learn from more data. The checkpoint must be of the recipe's own frozen parts and have the same projectors;
an adapter may be begun beside projectors that were trained without one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.adapter import ADAPTER, AdapterConfig, read_adapter
from model.checkpoint import Checkpoint
from model.configuration import QuartetConfig
from model.errors import CheckpointError
from model.projectors.mlp import MlpConfig
from training.recipe import Recipe
from training.refit import check_parts


def open_start(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint that a recipe goes on from, checked as far as it goes without the corpus; None: it has no `start`.

    Raises:
        CheckpointError: it cannot be opened, or has other frozen parts or another adapter.
    """
    if recipe.start is None:
        return None
    checkpoint = Checkpoint.open(Path(recipe.start))
    check_parts(checkpoint, recipe)
    check_adapter(checkpoint, recipe.adapter)
    return checkpoint


def score_size(checkpoint: Checkpoint, modality: str) -> int:
    """Hidden units of all groups of concepts of a projector together; 0 where there are none."""
    projector = checkpoint.config.modality_specs[modality].projector
    return (projector.score_size or 0) if isinstance(projector, MlpConfig) else 0


def adopt_hidden_units(checkpoint: Checkpoint, modalities: Mapping[str, dict[str, Any]]) -> None:
    """Give the projectors of a run the hidden units of those it goes on from, in place.

    They are no part of a recipe's projector: a `refit` has added them to groups of concepts.

    Args:
        checkpoint: to go on from.
        modalities: entries of the run's configuration, see `ModalityRecipe.entry`.
    """
    for name, entry in modalities.items():
        if name in checkpoint.config.modality_specs and entry["projector"].get("groups"):
            entry["projector"].update({"score_size": size} if (size := score_size(checkpoint, name)) else {})


def check_adapter(checkpoint: Checkpoint, adapter: AdapterConfig | None) -> None:
    """Refuse a checkpoint whose adapter is not the recipe's.

    Raises:
        CheckpointError: names what differs.
    """
    if checkpoint.adapter is None:
        return
    if adapter is None:
        raise CheckpointError(f"{checkpoint.directory}: has an {ADAPTER}/, the recipe has none and would lose it")
    # Dropout is a matter of training, and the order of the targets means nothing.
    given, asked = (
        {"rank": a.rank, "alpha": a.alpha, "targets": sorted(a.targets), "scope": a.scope}
        for a in (read_adapter(checkpoint.adapter, checkpoint.config.adapter_scope), adapter)
    )
    difference = _difference(given, asked, "adapter")
    if difference:
        raise CheckpointError(f"{checkpoint.directory}: {difference}")


def check_modalities(checkpoint: Checkpoint, config: QuartetConfig) -> None:
    """Refuse a checkpoint with other encoders, projectors or placeholders than a run's.

    Args:
        checkpoint: to go on from.
        config: of the model that the run has built; the sizes of groups of concepts are the corpus's.

    Raises:
        CheckpointError: names the first field that differs.
    """
    difference = _difference(checkpoint.config.to_dict()["modalities"], config.to_dict()["modalities"], "modalities")
    if difference:
        raise CheckpointError(
            f"{checkpoint.directory}: {difference}; go on with the recipe and the corpus that it was trained with"
        )


def _difference(given: Any, asked: Any, path: str) -> str | None:
    if isinstance(given, Mapping) and isinstance(asked, Mapping):
        found = (_difference(given.get(key), asked.get(key), f"{path}.{key}") for key in sorted({*given, *asked}))
        return next((difference for difference in found if difference), None)
    return None if given == asked else f"{path} is {given!r}, but {asked!r} in the recipe"
