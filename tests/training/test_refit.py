"""Scores that are fitted again: after the last stage or later, to the same result; nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import Checkpoint
from model.errors import CheckpointError, ConfigurationError
from tests.training.parts import recipe_values, write_recipe
from training.recipe import Recipe, read_recipe
from training.refit import Scale, fitted_scales, refit
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
Change = Callable[[dict[str, Any]], None]


def concepts(values: dict[str, Any], modality: str) -> dict[str, Any]:
    group: dict[str, Any] = values["modalities"][modality]["initialisation"]["concepts"][0]
    return group


def again(values: dict[str, Any]) -> None:
    concepts(values, "image")["refit"] = {"sharpness": 4.0, "units": 16}


def make(parts: Path, name: str, change: Change = lambda values: None) -> Recipe:
    values = recipe_values(parts)
    values["stages"][0]["data"][0]["passes"] = 1
    change(values)
    return read_recipe(write_recipe(parts / f"{name}.yaml", values))


@pytest.fixture(scope="module")
def plain(
    parts: Path, corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:  # fmt: skip
    """Trained by a recipe that fits nothing again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        return run(make(parts, "plain"), corpus, tmp_path_factory.mktemp("plain"), command="quartet train plain")


def weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.directory / "projectors.safetensors")


def test_only_the_scores_change(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    made = refit(plain, make(parts, "refit", again), corpus, tmp_path / "new", command="quartet refit plain")
    before, after = weights(plain), weights(made)
    assert set(after) - set(before) == {"image.units.weight", "image.units.bias"}
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"image.first.weight", "image.first.bias"}
    dim = plain.config.modality_specs["image"].encoder.dim
    assert after["image.first.weight"].shape == (3, dim + 16)
    assert not after["image.first.weight"][:, :dim].any(), "scored by the hidden units alone"
    expected = plain.config.to_dict()
    expected["modalities"]["image"]["projector"]["score_size"] = 16
    assert made.config.to_dict() == expected
    record = dict(made.provenance.training)
    groups = {"image": [{"sharpness": 4.0, "silence": 0.0}]}
    assert record.pop("refit") == {"command": "quartet refit plain", "media": {"image": 24}, "groups": groups}
    assert record == plain.provenance.training
    made.load()


def test_linear_scores_keep_their_shape(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    def twice(values: dict[str, Any]) -> None:
        concepts(values, "audio")["refit"] = {"sharpness": 2.0}

    made = refit(plain, make(parts, "linear", twice), corpus, tmp_path / "new")
    before, after = weights(plain), weights(made)
    assert set(after) == set(before)
    for name in ("audio.first.weight", "audio.first.bias"):
        torch.testing.assert_close(after[name].float(), 2 * before[name].float(), rtol=2e-3, atol=2e-3)


def test_scores_may_be_kept_and_sharpened(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    def sharper(values: dict[str, Any]) -> None:
        concepts(values, "audio")["refit"] = {"fit": False, "sharpness": 2.0}

    made = refit(plain, make(parts, "sharper", sharper), corpus, tmp_path / "new")
    before, after = weights(plain), weights(made)
    for name in ("audio.first.weight", "audio.first.bias"):
        assert torch.equal(after[name], 2 * before[name]), "exactly: nothing was fitted"


def test_a_run_that_ends_with_it_gives_the_same(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    recipe = make(parts, "both", again)
    whole = run(recipe, corpus, tmp_path / "run", command="quartet train both")
    later = refit(plain, recipe, corpus, tmp_path / "later")
    first, second = weights(whole), weights(later)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_was_refitted_is_refitted_to_the_same(
    plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path
) -> None:
    def sharper(values: dict[str, Any]) -> None:
        again(values)
        concepts(values, "audio")["refit"] = {"fit": False, "sharpness": 2.0}

    recipe = make(parts, "twice", sharper)
    once = refit(plain, recipe, corpus, tmp_path / "once")
    twice = refit(once, recipe, corpus, tmp_path / "twice")
    first, second = weights(once), weights(twice)
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first), "not scaled a second time either"
    assert once.config.to_dict() == twice.config.to_dict()


def test_a_record_tells_how_sharp_scores_are() -> None:
    def refit_of(sharpness: float) -> dict[str, Any]:
        return {"groups": {"image": [None, {"sharpness": sharpness, "silence": -1.0}]}}

    first = {"average": [{"refit": refit_of(3.0)}, {"refit": refit_of(3.0)}]}
    assert fitted_scales({"command": "train"}) == {}
    assert fitted_scales({"start": first}) == {"image": {1: Scale(3.0, -1.0)}}
    other = {"groups": {"image": [{"sharpness": 5.0, "silence": 0.0}, None], "audio": [None]}}
    assert fitted_scales({"start": first, "refit": other}) == {
        "image": {0: Scale(5.0, 0.0), 1: Scale(3.0, -1.0)},
        "audio": {},
    }


def test_scores_may_be_sharpened_once_more(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    def sharper(values: dict[str, Any], sharpness: float) -> None:
        concepts(values, "audio")["refit"] = {"fit": False, "sharpness": sharpness}

    made = [plain]
    for number, sharpness in enumerate((2.0, 8.0)):
        recipe = make(parts, f"sharper-{number}", lambda values, sharpness=sharpness: sharper(values, sharpness))
        made.append(refit(made[-1], recipe, corpus, tmp_path / str(number), command=f"refit {number}"))
    for name in ("audio.first.weight", "audio.first.bias"):
        assert torch.equal(weights(made[2])[name], 8 * weights(plain)[name])
    record = made[2].provenance.training
    assert record["refit"]["command"] == "refit 1"
    assert record["start"] == made[1].provenance.training, "nothing of how it came to be is lost"


def test_a_group_that_is_not_refitted_keeps_its_hidden_units(
    parts: Path, corpus: Path, shared_cache: Path, tmp_path: Path
) -> None:
    def two(values: dict[str, Any], *units: int | None) -> None:
        fits = [{} if unit is None else {"refit": {"units": unit}} for unit in units]
        made = [{"tasks": ["scenes/colour"], **fit} for fit in fits]
        values["modalities"]["image"]["initialisation"]["concepts"] = made

    start = run(make(parts, "groups", lambda values: two(values, None, None)), corpus, tmp_path / "run")
    both = refit(start, make(parts, "a", lambda values: two(values, 8, 6)), corpus, tmp_path / "a")
    made = refit(both, make(parts, "b", lambda values: two(values, None, 4)), corpus, tmp_path / "b")
    assert made.config.modalities["image"]["projector"]["score_size"] == 8 + 4
    before, after = weights(both), weights(made)
    dim = start.config.modality_specs["image"].encoder.dim
    assert torch.equal(before["image.units.weight"][:8], after["image.units.weight"][:8])
    assert torch.equal(before["image.first.weight"][:3, : dim + 8], after["image.first.weight"][:3, : dim + 8])
    assert torch.equal(before["image.first.bias"][:3], after["image.first.bias"][:3])
    assert not after["image.first.weight"][:3, dim + 8 :].any(), "none of the other group's"
    assert after["image.first.weight"][3:, dim + 8 :].any()


def test_what_fits_not_is_refused(plain: Checkpoint, parts: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no group says `refit`"):
        refit(plain, make(parts, "none"), corpus, tmp_path / "new")
    with pytest.raises(CheckpointError, match="is the checkpoint itself; give another --output"):
        refit(plain, make(parts, "refit", again), corpus, plain.directory)

    def two(values: dict[str, Any]) -> None:
        again(values)
        values["modalities"]["image"]["initialisation"]["concepts"].append({"tasks": ["scenes/colour"]})

    with pytest.raises(CheckpointError, match=r"projector of image: its groups of concepts \(\[3\]\) are not those"):
        refit(plain, make(parts, "two", two), corpus, tmp_path / "new")

    def other(values: dict[str, Any]) -> None:
        again(values)
        values["modalities"]["audio"]["sha256"] = "0" * 64

    with pytest.raises(CheckpointError, match=r"audio has sha256 \w+, the recipe asks for 0+; refit with the recipe"):
        refit(plain, make(parts, "other", other), corpus, tmp_path / "new")

    def behind(values: dict[str, Any]) -> None:
        two(values)
        concepts(values, "image")["behind"] = "dialogs/which"
        values["modalities"]["image"]["initialisation"]["concepts"][1]["tasks"] = ["dialogs/which"]

    with pytest.raises(
        CheckpointError, match=r"image: its groups \[\] are behind others, the recipe says \[0\]; refit"
    ):
        refit(plain, make(parts, "behind", behind), corpus, tmp_path / "new")
    assert not (tmp_path / "new").exists()
