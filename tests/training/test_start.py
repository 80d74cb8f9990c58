"""A run that goes on from a checkpoint: it begins where that one ended, and what does not fit is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import Checkpoint
from model.cli import main
from model.errors import CheckpointError, ConfigurationError
from tests.training.parts import Change, recipe_values, write_recipe
from training.recipe import Recipe, only_stages, read_recipe
from training.refit import refit
from training.run import run

pytestmark = pytest.mark.usefixtures("own_cache")
STEPS = 3
PROJECTORS, ADAPTER = "projectors.safetensors", "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def first(
    recipe_of: Callable[..., Recipe], corpus: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Checkpoint:
    """A run with an adapter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUARTET_CACHE", str(shared_cache))
        output = tmp_path_factory.mktemp("first") / "run"
        return run(recipe_of(adapted), corpus, output, command="quartet train first")


def adapted(values: dict[str, Any]) -> None:
    values["adapter"] = {"rank": 2, "targets": ["q_proj", "v_proj"]}
    values["stages"][0]["learning_rates"]["adapter"] = 1e-2


def on(checkpoint: Checkpoint, rates: dict[str, float], **fields: Any) -> Change:
    """A few steps of a stage of these rates, from a checkpoint on."""

    def change(values: dict[str, Any]) -> None:
        adapted(values)
        values["start"] = str(checkpoint.directory)
        values["stages"][0] |= {"name": "more", "learning_rates": rates, "steps": STEPS}
        values.update(fields)

    return change


def test_it_begins_where_the_other_ended(
    first: Checkpoint, recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    made = run(recipe_of(on(first, {"projectors.audio.second.*": 1e-2})), corpus, tmp_path / "run", command="more")
    before, after = (load_file(checkpoint.directory / PROJECTORS) for checkpoint in (first, made))
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"audio.second.weight", "audio.second.bias"}, "all the rest is that of the checkpoint"
    lora = load_file(first.directory / ADAPTER)
    assert any(tensor.any() for name, tensor in lora.items() if "lora_B" in name), "the adapter says something"
    assert all(torch.equal(lora[name], tensor) for name, tensor in load_file(made.directory / ADAPTER).items())

    record = made.provenance.training
    assert record["command"] == "more"
    assert record["start"] == first.provenance.training
    assert set(record["samples"]) == {"more/scenes", "more/tones", "more/dialogs"}


def test_the_adapter_is_trained_on(
    first: Checkpoint, recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    made = run(recipe_of(on(first, {"adapter": 1e-4})), corpus, tmp_path / "run")
    before, after = (load_file(checkpoint.directory / ADAPTER) for checkpoint in (first, made))
    for name, tensor in before.items():
        assert not torch.equal(tensor, after[name])
        # A step of Adam moves a number by about its rate at most.
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=2e-4 * STEPS)


def test_an_adapter_may_be_begun_beside_trained_projectors(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    plain = run(recipe_of(), corpus, tmp_path / "plain")
    assert plain.adapter is None
    made = run(recipe_of(on(plain, {"adapter": 1e-3})), corpus, tmp_path / "run")
    assert made.adapter is not None
    before, after = (load_file(checkpoint.directory / PROJECTORS) for checkpoint in (plain, made))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_does_not_fit_is_named(
    first: Checkpoint, recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    rates = {"projectors": 1e-3}

    def refused(error: type[Exception], message: str, change: Change, checkpoint: Checkpoint = first) -> None:
        def both(values: dict[str, Any]) -> None:
            on(checkpoint, rates)(values)
            change(values)

        with pytest.raises(error, match=message):
            run(recipe_of(both), corpus, tmp_path / "run")
        assert not list((tmp_path / "run").glob("stage-*"))

    def tokens(values: dict[str, Any]) -> None:
        values["modalities"]["image"]["projector"]["tokens"] = 3

    def groups(values: dict[str, Any]) -> None:
        values["modalities"]["image"]["initialisation"]["concepts"].append({"tasks": ["scenes/colour"]})

    missing = "is not a Quartet checkpoint: config.json is missing"
    refused(CheckpointError, missing, lambda values: values.update(start=str(tmp_path / "none")))
    refused(CheckpointError, "the recipe has none and would lose it", lambda values: values.pop("adapter"))
    refused(CheckpointError, "adapter.rank is 2, but 4 in the", lambda values: values["adapter"].update(rank=4))
    refused(
        CheckpointError, r"adapter.targets is \[.*'v_proj'\], but", lambda v: v["adapter"].update(targets=["q_proj"])
    )
    refused(CheckpointError, "adapter.scope is 'always'", lambda values: values["adapter"].update(scope="media"))
    refused(CheckpointError, r"modalities\.image\.projector\.tokens is 2, but 3", tokens)
    refused(CheckpointError, r"modalities\.image\.projector\.groups is \[3\], but \[3, 3\]", groups)

    path = shutil.copytree(first.directory, tmp_path / "other")
    values = json.loads((path / "provenance.json").read_text())
    values["encoders"]["audio"]["sha256"] = "0" * 64
    (path / "provenance.json").write_text(json.dumps(values))
    refused(CheckpointError, "audio has sha256 0000", lambda values: None, Checkpoint.open(path))


def test_hidden_units_stay_as_they_are(
    first: Checkpoint, recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    def refitting(values: dict[str, Any]) -> None:
        values["modalities"]["image"]["initialisation"]["concepts"][0]["refit"] = {"units": 16}

    scored = refit(first, recipe_of(refitting), corpus, tmp_path / "units")
    made = run(recipe_of(on(scored, {"projectors.*.second.*": 1e-2})), corpus, tmp_path / "run")
    before, after = (load_file(checkpoint.directory / PROJECTORS) for checkpoint in (scored, made))
    assert before["image.units.weight"].shape[0] == 16
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{name}.second.{part}" for name in ("image", "audio") for part in ("weight", "bias")}

    def again(values: dict[str, Any]) -> None:
        on(scored, {"projectors.*.second.*": 1e-2})(values)
        refitting(values)

    fitted = load_file(run(recipe_of(again), corpus, tmp_path / "again").directory / PROJECTORS)
    assert set(fitted) == set(after)
    assert all(torch.equal(fitted[name], after[name]) for name in after), "the same units, fitted once more"


def test_a_relative_start_begins_at_the_recipe(parts: Path) -> None:
    values = recipe_values(parts) | {"start": "runs/first/checkpoint"}
    recipe = read_recipe(write_recipe(parts / "relative.yaml", values))
    assert recipe.start == str(parts.resolve() / "runs/first/checkpoint")


def test_stages_are_chosen_by_name(recipe_of: Callable[..., Recipe]) -> None:
    def three(values: dict[str, Any]) -> None:
        values["stages"] = [{**values["stages"][0], "name": name} for name in ("one", "two", "three")]

    recipe = recipe_of(three)
    assert [stage.name for stage in only_stages(recipe, ["three", "one"]).stages] == ["one", "three"]
    with pytest.raises(ConfigurationError, match="stages: there is no four, only one, two, three"):
        only_stages(recipe, ["one", "four"])


def test_the_command_trains_one_stage_after_the_other(
    parts: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recipe_values(parts)
    values["stages"] = [{**values["stages"][0], "name": name, "steps": 2} for name in ("one", "two")]
    recipe = write_recipe(parts / "stages.yaml", values)

    def train(*arguments: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["train", str(recipe), "--corpus", str(corpus), *arguments])
        assert not ended.value.code
        made = capsys.readouterr().out.splitlines()[-1].removeprefix("checkpoint written to ")
        return Checkpoint.open(Path(made)).provenance.training

    before = train("--stages", "one", "--output", str(tmp_path / "a"))
    start = tmp_path / "a" / "checkpoint"
    after = train("--start", str(start), "--stages", "two", "--output", str(tmp_path / "b"))
    assert {name.split("/")[0] for name in before["samples"]} == {"one"}
    assert {name.split("/")[0] for name in after["samples"]} == {"two"}
    assert after["start"] == before
    assert after["command"] == (
        f"quartet train stages.yaml --corpus {corpus.name} --start checkpoint --stages two --output b"
    ), "no paths of this machine"


def test_a_run_is_not_resumed_from_another_start(
    first: Checkpoint, recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(first.directory, tmp_path / "start")
    recipe = recipe_of(on(Checkpoint.open(path), {"projectors": 1e-3}))
    run(recipe, corpus, tmp_path / "run")
    run(recipe, corpus, tmp_path / "run", resume=True)
    values = json.loads((path / "provenance.json").read_text())
    (path / "provenance.json").write_text(json.dumps(values, indent=3))
    with pytest.raises(ConfigurationError, match="the run was started with another start"):
        run(recipe, corpus, tmp_path / "run", resume=True)
