"""The mean of runs: every trained tensor is the mean, the rest is as it was, and what has no mean is refused."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.checkpoint import PROVENANCE, Checkpoint
from model.cli import main
from model.errors import CheckpointError
from tests.training.parts import recipe_values, write_recipe
from training.average import average
from training.recipe import read_recipe
from training.refit import refit
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
FILES = ("projectors.safetensors", "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def runs(parts: Path, corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Two runs of a recipe that differ in their seed."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        for seed in (0, 1):
            values = recipe_values(parts)
            values["seed"] = seed
            values["adapter"] = {"rank": 2}
            values["stages"][0]["learning_rates"]["adapter"] = 1e-3
            recipe = read_recipe(write_recipe(parts / f"seed-{seed}.yaml", values))
            made.append(run(recipe, corpus, tmp_path_factory.mktemp(f"seed-{seed}"), command=f"quartet train {seed}"))
    return made


def changed(checkpoint: Checkpoint, directory: Path) -> Path:
    shutil.copytree(checkpoint.directory, directory)
    return directory


def test_every_trained_tensor_is_the_mean(runs: list[Checkpoint], tmp_path: Path) -> None:
    made = average(runs, tmp_path / "mean", command="quartet average")
    for name in FILES:
        first, second = (load_file(checkpoint.directory / name) for checkpoint in runs)
        found = load_file(made.directory / name)
        assert set(found) == set(first)
        assert any(not torch.equal(first[key], second[key]) for key in first), "the runs differ"
        for key, tensor in found.items():
            assert tensor.dtype == torch.float16
            expected = (first[key].float() + second[key].float()) / 2
            torch.testing.assert_close(tensor.float(), expected, rtol=1e-3, atol=1e-6)
    assert made.config.to_dict() == runs[0].config.to_dict()
    assert dataclasses.replace(made.provenance, training={}) == dataclasses.replace(runs[0].provenance, training={})
    assert made.provenance.training == {
        "command": "quartet average",
        "average": [checkpoint.provenance.training for checkpoint in runs],
    }
    made.load()


def test_the_mean_of_a_checkpoint_and_itself_is_the_checkpoint(runs: list[Checkpoint], tmp_path: Path) -> None:
    made = average([runs[0], runs[0]], tmp_path / "mean")
    for name in FILES:
        given, found = load_file(runs[0].directory / name), load_file(made.directory / name)
        assert all(torch.equal(given[key], found[key]) for key in given)


def test_the_command_names_no_paths(
    runs: list[Checkpoint], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    one, other = (changed(checkpoint, tmp_path / f"run-{index}") for index, checkpoint in enumerate(runs))
    with pytest.raises(SystemExit) as ended:
        main(["average", str(one), str(other), "--output", str(tmp_path / "mean")])
    assert not ended.value.code
    assert "checkpoint written to" in capsys.readouterr().out
    record = Checkpoint.open(tmp_path / "mean").provenance.training
    assert record["command"] == "quartet average run-0 run-1 --output mean"


def test_what_has_no_mean_is_refused(runs: list[Checkpoint], parts: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="at least two checkpoints, got 1"):
        average(runs[:1], tmp_path / "mean")
    with pytest.raises(CheckpointError, match="is one of the checkpoints"):
        average(runs, runs[1].directory)

    path = changed(runs[1], tmp_path / "other")
    values = json.loads((path / PROVENANCE).read_text())
    for sha256, source, message in (
        ("0" * 64, values["encoders"]["audio"]["source"], r"audio is \S+ \(0{12}\), that of .* only runs on the same"),
        (values["encoders"]["audio"]["sha256"], "file:encoders/audio", r"audio is file:encoders/audio .* only runs on"),
    ):
        values["encoders"]["audio"] = {"source": source, "sha256": sha256}
        (path / PROVENANCE).write_text(json.dumps(values))
        with pytest.raises(CheckpointError, match=message):
            average([runs[0], Checkpoint.open(path)], tmp_path / "mean")
    with pytest.raises(
        CheckpointError, match=r"audio was trained \(file:encoders/audio\); only projectors and adapters"
    ):
        average([Checkpoint.open(path), Checkpoint.open(path)], tmp_path / "mean")

    path = changed(runs[1], tmp_path / "scope")
    values = json.loads((path / "config.json").read_text())
    values["adapter_scope"] = "always" if values["adapter_scope"] == "media" else "media"
    (path / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="has another configuration"):
        average([runs[0], Checkpoint.open(path)], tmp_path / "mean")

    values = recipe_values(parts)
    values["modalities"]["image"]["initialisation"]["concepts"][0]["refit"] = {"units": 16}
    scored = refit(runs[0], read_recipe(write_recipe(parts / "units.yaml", values)), corpus, tmp_path / "units")
    with pytest.raises(CheckpointError, match="projector of image scores by hidden units"):
        average([scored, scored], tmp_path / "mean")

    path = changed(runs[1], tmp_path / "adapter")
    values = json.loads((path / "adapter/adapter_config.json").read_text())
    (path / "adapter/adapter_config.json").write_text(json.dumps({**values, "lora_alpha": 99}))
    with pytest.raises(CheckpointError, match="has another adapter"):
        average([runs[0], Checkpoint.open(path)], tmp_path / "mean")

    path = changed(runs[1], tmp_path / "shape")
    state = load_file(path / FILES[1])
    name = next(iter(state))
    save_file({**state, name: state[name][:1]}, path / FILES[1])
    with pytest.raises(CheckpointError, match=r"/shape/adapter/adapter_model\.safetensors: tensor \S+ has shape"):
        average([runs[0], Checkpoint.open(path)], tmp_path / "mean")
    assert not (tmp_path / "mean").exists() or not (tmp_path / "mean" / PROVENANCE).exists()
