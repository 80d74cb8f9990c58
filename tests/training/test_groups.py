"""Groups of concepts that are trained alone: they learn, and nothing else changes by a bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from model.projectors import projector_config
from model.projectors.mlp import Mlp
from training.groups import only_concepts, trained_concepts
from training.initialise import ConceptGroup
from training.recipe import Recipe
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
NAMES: list[list[str | None]] = [["cat", None, "dog"], ["red", "blue", "green", None], ["one", "two"]]
GROUPS, UNITS, DIM = [len(names) for names in NAMES], 5, 6


def build() -> Mlp:
    values = {"type": "mlp", "tokens": 2, "activation": "softmax", "groups": GROUPS, "score_size": UNITS}
    projector = projector_config(values | {"residual": True}).build(dim=DIM, length=1, hidden_size=8)
    assert isinstance(projector, Mlp)
    return projector


def of(*numbers: int) -> dict[str, torch.Tensor]:
    """The concepts of the groups of these numbers."""
    groups = [ConceptGroup(names, torch.zeros(len(names), DIM), torch.zeros(len(names))) for names in NAMES]
    return {"image": trained_concepts(groups, numbers)}


def step(projector: Mlp, chosen: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an optimizer step adds to every parameter."""
    before = {name: tensor.clone() for name, tensor in projector.state_dict().items()}
    optimizer = torch.optim.AdamW(projector.parameters(), lr=0.1, weight_decay=0.0)
    with only_concepts(nn.ModuleDict({"image": projector}), chosen):
        projector(torch.randn(8, 1, DIM)).square().sum().backward()
    optimizer.step()
    return {name: tensor - before[name] for name, tensor in projector.state_dict().items()}


@pytest.mark.parametrize("numbers", [{0}, {1}, {2, 0}, set()])
def test_only_their_rows_and_columns_change(numbers: set[int]) -> None:
    added = step(build(), of(*numbers))
    where = [number in numbers and name is not None for number, names in enumerate(NAMES) for name in names]
    for concept, trained in enumerate(where):
        for part in (added["first.weight"][concept], added["first.bias"][concept], added["second.weight"][:, concept]):
            assert bool(part.any()) == trained, "what is said where there is nothing to say stays"
    for name in ("units.weight", "units.bias", "second.bias", "residual.weight"):
        assert not added[name].any(), name


def test_other_projectors_and_later_steps_are_not_touched() -> None:
    projector = build()
    with only_concepts(nn.ModuleDict({"image": projector}), of(0)):
        pass
    assert all(tensor.any() for name, tensor in step(projector, {}).items() if name not in ("mean", "scale"))


def test_a_gradient_that_is_no_number_stays_where_it_belongs() -> None:
    projector = build()
    with only_concepts(nn.ModuleDict({"image": projector}), of(0)):
        (projector(torch.randn(2, 1, DIM)) * torch.inf).sum().backward()
    assert projector.second.weight.grad is not None
    assert not projector.second.weight.grad[:, GROUPS[0] :].any()


def test_a_stage_trains_some_groups_and_samples_of_some_tasks(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    def change(values: dict[str, Any], steps: int = 3, **fields: Any) -> None:
        stage = values["stages"][0]
        stage |= {"name": "all", "learning_rates": {"projectors": 1e-2}, "steps": steps, **fields}

    def alone(values: dict[str, Any]) -> None:
        change(values, name="alone", concepts=["scenes/colour"])
        values["start"] = str(start.directory)
        values["stages"][0]["data"] = [{"source": "scenes", "tasks": ["scenes/colour"]}, {"source": "tones"}]

    start = run(recipe_of(change), corpus, tmp_path / "start")
    made = run(recipe_of(alone), corpus, tmp_path / "alone")
    before, after = (load_file(checkpoint.directory / "projectors.safetensors") for checkpoint in (start, made))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"image.{name}" for name in ("first.weight", "first.bias", "second.weight")}
    assert made.provenance.training["samples"] == {"alone/scenes": 24, "alone/tones": 16}
