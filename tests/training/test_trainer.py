"""Which steps of a stage are saved, and how a stage has ended."""

from pathlib import Path

import pytest
import torch
from torch import nn

from model.errors import ConfigurationError
from training.saved import Done, load_trained, read_done, save_trained, saved_step, saved_steps, write_done


def test_the_last_saved_step_is_the_last_complete_one(tmp_path: Path) -> None:
    assert saved_steps(tmp_path / "none") == []
    for step in (200, 1000, 400):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1200").mkdir()
    assert [path.name for path in saved_steps(tmp_path)] == ["checkpoint-200", "checkpoint-400", "checkpoint-1000"]
    assert saved_step(tmp_path, 400) in saved_steps(tmp_path)


def test_a_stage_says_how_it_ended(tmp_path: Path) -> None:
    assert read_done(tmp_path) is None
    write_done(tmp_path, Done(30, 20))
    assert read_done(tmp_path) == Done(30, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["done.json"], "nothing half-written is left"


def test_only_what_is_trained_is_saved_and_nothing_else_is_taken(tmp_path: Path) -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["a"].requires_grad_(False)
    save_trained(model, tmp_path)
    before = model["b"].weight.clone()
    with torch.no_grad():
        model["b"].weight.zero_()
    load_trained(model, tmp_path, "align")
    assert torch.equal(model["b"].weight, before)
    model["a"].requires_grad_(True)
    with pytest.raises(ConfigurationError, match=r"trained\.safetensors: does not hold what stage align trains"):
        load_trained(model, tmp_path, "align")
