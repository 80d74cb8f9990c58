"""What a stage trains, where it saves its steps, what its log becomes."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from model.errors import ConfigurationError
from training.report import draw_loss, loss_points
from training.trainer import parameter_groups, saved_steps


@pytest.fixture
def model() -> nn.Module:
    def projector() -> nn.ModuleDict:
        return nn.ModuleDict({name: nn.Linear(2, 2) for name in ("first", "second")})

    return nn.ModuleDict(
        {"language_model": nn.Linear(2, 2), "projectors": nn.ModuleDict({n: projector() for n in ("image", "audio")})}
    )


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def test_the_first_pattern_that_matches_gives_the_rate(model: nn.Module) -> None:
    rates = {"projectors.image.second.*": 0.1, "projectors.*.first.*": 0.0, "projectors.*": 0.2}
    groups = parameter_groups(model.named_parameters(), rates)
    assert [(len(group["params"]), group["lr"]) for group in groups] == [(2, 0.1), (2, 0.2)]
    assert trained(model) == [f"projectors.{n}.second.{p}" for n in ("image", "audio") for p in ("weight", "bias")]


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"projectors.*": 0.1, "projectors.video.*": 0.1}, r"no parameter is called like 'projectors\.video\.\*'"),
        ({"*.weight": 0.1}, r"'\*\.weight' matches language_model\.weight, but a checkpoint keeps projectors\.\* and"),
    ],
)
def test_patterns_that_cannot_work_are_named(model: nn.Module, rates: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"learning_rates: {message}"):
        parameter_groups(model.named_parameters(), rates)


def test_the_last_saved_step_is_the_last_complete_one(tmp_path: Path) -> None:
    assert saved_steps(tmp_path / "none") == []
    for step in (200, 1000, 400):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1200").mkdir()
    assert [path.name for path in saved_steps(tmp_path)] == ["checkpoint-200", "checkpoint-400", "checkpoint-1000"]


def test_the_steps_of_stages_follow_each_other(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = [
        {"stage": "align", "step": 10, "loss": 3.0},
        {"stage": "align", "step": 20, "loss": 2.0},
        {"stage": "align", "step": 25, "train_runtime": 1.0},
        {"stage": "tune", "step": 10, "loss": 1.0},
        {"stage": "tune", "step": 20, "loss": 0.5},
    ]
    assert loss_points(log) == [(10, 3.0), (20, 2.0), (30, 1.0), (40, 0.5)]
    draw_loss(log, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_loss_nothing_is_drawn(tmp_path: Path) -> None:
    draw_loss([{"step": 5, "train_loss": 1.0}], tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
