"""Validation: a stage stops early, ends with its best weights, and trains the same with and without it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.errors import DataError
from tests.training.parts import recipe_values, write_json_lines, write_recipe
from training import trainer as trainer_module
from training.recipe import read_recipe
from training.run import run
from training.saved import read_done, saved_steps
from training.validation import Validator, waited

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def write(parts: Path, tmp_path: Path) -> Callable[..., Path]:
    """The tiny recipe with these fields of its stage."""

    def build(**fields: Any) -> Path:
        values = recipe_values(parts)
        values["stages"][0] |= {"steps": 24, "save_steps": 1000, **fields}
        return write_recipe(parts / f"validated-{abs(hash(tmp_path))}.yaml", values)

    return build


def scored(log: Path) -> dict[int, dict[str, float]]:
    entries = [json.loads(line) for line in (log / "log.jsonl").read_text().splitlines()]
    found = [entry for entry in entries if "eval_loss" in entry]
    assert len({entry["step"] for entry in found}) == len(found), "none is made twice"
    return {entry["step"]: entry for entry in found}


def test_a_stage_is_watched(write: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    recipe = write(validation={"share": 0.2, "steps": 10, "samples": 6})
    run(read_recipe(recipe), corpus, tmp_path / "run")
    scores = scored(tmp_path / "run")
    assert list(scores) == [10, 20, 24]
    for entry in scores.values():
        assert entry["eval_perplexity"] == pytest.approx(torch.tensor(entry["eval_loss"]).exp().item(), rel=1e-4)
        assert 0 <= entry["eval_accuracy"] <= 1
    best = min(scores, key=lambda step: scores[step]["eval_loss"])
    done = read_done(tmp_path / "run" / "stage-align")
    assert done is not None
    assert (done.step, done.best) == (24, best)
    saved = load_file(tmp_path / "run" / "stage-align" / f"checkpoint-{best}" / "trained.safetensors")
    kept = load_file(tmp_path / "run" / "checkpoint" / "projectors.safetensors")
    name = "image.second.weight"
    assert torch.equal(kept[name], saved[f"projectors.{name}"].half())
    assert "## Validation" in (tmp_path / "run" / "report.md").read_text()


def test_the_best_weights_are_kept_and_a_stage_that_gets_no_better_ends(
    write: Callable[..., Path], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {3: 2.0, 6: 1.0, 9: 1.5, 12: 1.2, 15: 0.5}
    seen: list[int] = []

    def score(self: Validator, model: Any) -> dict[str, float]:
        seen.append(3 * (len(seen) + 1))
        return {"eval_loss": losses[seen[-1]], "eval_perplexity": 1.0, "eval_accuracy": 0.5}

    monkeypatch.setattr(Validator, "__call__", score)
    recipe = write(validation={"share": 0.2, "steps": 3, "patience": 2}, keep=1)
    run(read_recipe(recipe), corpus, tmp_path / "run")
    assert seen == [3, 6, 9, 12], "two validations in a row were no better than the one at step 6"
    done = read_done(tmp_path / "run" / "stage-align")
    assert done is not None
    assert (done.step, done.best) == (12, 6)
    assert {path.name for path in saved_steps(tmp_path / "run" / "stage-align")} >= {"checkpoint-6", "checkpoint-12"}
    first = load_file(tmp_path / "run" / "checkpoint" / "projectors.safetensors")
    # Resumed, it is not trained again and ends with the same weights.
    monkeypatch.setattr(trainer_module.QuartetTrainer, "train", lambda *_, **__: pytest.fail("it has ended"))
    run(read_recipe(recipe), corpus, tmp_path / "run", resume=True)
    again = load_file(tmp_path / "run" / "checkpoint" / "projectors.safetensors")
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())


def test_watching_changes_nothing(write: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    """The same samples are held out; one run looks at them, the other only at the end."""
    for name, steps in (("often", 4), ("once", 1000)):
        recipe = write(validation={"share": 0.2, "steps": steps, "keep_best": False})
        run(read_recipe(recipe), corpus, tmp_path / name)
    often, once = (load_file(tmp_path / name / "checkpoint" / "projectors.safetensors") for name in ("often", "once"))
    assert all(torch.equal(tensor, once[name]) for name, tensor in often.items())


def test_samples_of_their_own(write: Callable[..., Path], parts: Path, tmp_path: Path) -> None:
    from tests.training.parts import write_corpus

    corpus = write_corpus(tmp_path / "corpus", each=4)
    recipe = write(validation={"sources": ["scenes"], "steps": 12})
    with pytest.raises(DataError, match=r"scenes/valid\.jsonl does not exist"):
        run(read_recipe(recipe), corpus, tmp_path / "run")
    lines = [json.loads(line) for line in (corpus / "scenes" / "train.jsonl").read_text().splitlines()]
    for line in lines:
        line["id"] += "-valid"
    write_json_lines(corpus / "scenes" / "valid.jsonl", lines[:4])
    run(read_recipe(recipe), corpus, tmp_path / "run")
    assert list(scored(tmp_path / "run")) == [12, 24]


def test_a_share_that_holds_out_nothing_is_named(write: Callable[..., Path], corpus: Path, tmp_path: Path) -> None:
    recipe = write(validation={"share": 0.0001})
    with pytest.raises(DataError, match=r"stage align: validation\.share 0\.0001 holds out no sample; raise it"):
        run(read_recipe(recipe), corpus, tmp_path / "run")


def test_how_long_nothing_was_better() -> None:
    log = [{"step": 3, "eval_loss": 2.0}, {"step": 5, "loss": 1.0}, {"step": 6, "eval_loss": 3.0}]
    assert waited(log, 3) == 1
    assert waited(log, 0) == 2
    assert waited(log, 6) == 0
