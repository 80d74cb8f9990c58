"""What no run can be made of is named, before anything is trained or as soon as it shows."""

import importlib.util
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError, ConfigurationError, DataError, SourceError
from model.sources import sha256_of
from tests.training.parts import Change, stage
from training.recipe import Recipe
from training.run import run
from training.trainer import QuartetTrainer

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize(
    ("fields", "error"),
    [({"max_length": 24}, DataError), ({"learning_rates": {"projectors.video.*": 0.1}}, ConfigurationError)],
)
def test_what_cannot_work_in_the_last_stage_shows_before_the_first(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, fields: dict[str, Any], error: type[Exception]
) -> None:
    def two(values: dict[str, Any]) -> None:
        values["stages"].append({**deepcopy(values["stages"][0]), "name": "tune", **fields})

    with pytest.raises(error):
        run(recipe_of(two), corpus, tmp_path / "run")
    assert not (tmp_path / "run" / "stage-align").exists()


def rates(pattern: str) -> Change:
    return stage(learning_rates={pattern: 0.01})


def concepts(**fields: Any) -> Change:
    def change(values: dict[str, Any]) -> None:
        values["modalities"]["image"]["initialisation"]["concepts"] = [fields]

    return change


def part(name: str, **fields: Any) -> Change:
    def change(values: dict[str, Any]) -> None:
        (values["llm"] if name == "llm" else values["modalities"][name]).update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (rates("projectors.*.third"), ConfigurationError, r"no parameter is called like 'projectors\.\*\.third"),
        (rates("adapter"), ConfigurationError, r"called like 'adapter' \(the recipe has no adapter\)"),
        (
            concepts(tasks=["scenes/size"]),
            DataError,
            r"image\.initialisation\.concepts\[0\]\.tasks: no sample of scenes/s",
        ),
        (
            concepts(names="names.txt"),
            ConfigurationError,
            r"concepts\[0\]\.names: this encoder has no classes of its own",
        ),
        (part("llm", sha256="0" * 64), SourceError, "has sha256 .*, expected 0000"),
        (part("image", source="file:none.safetensors"), SourceError, r"none\.safetensors"),
        (stage(max_length=24), DataError, r"sample scenes/\d+: \d+ tokens, at most 24 fit"),
        (stage(data=[{"source": "videos"}]), DataError, r"videos/train\.jsonl does not exist; build the corpus"),
        (stage(data=[{"source": "tones"}, {"source": "scenes", "passes": 0.01}]), DataError, "takes none of scenes's"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_cannot_work_is_named(
    recipe_of: Callable[..., Recipe],
    corpus: Path,
    parts: Path,
    tmp_path: Path,
    change: Change,
    error: type[Exception],
    message: str,
) -> None:
    (parts / "names.txt").write_text("cat\ndog\n")
    with pytest.raises(error, match=message):
        run(recipe_of(change), corpus, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_weights_of_another_size_are_refused(
    recipe_of: Callable[..., Recipe], corpus: Path, parts: Path, tmp_path: Path
) -> None:
    other = parts / "audio.safetensors"

    def swap(values: dict[str, Any]) -> None:
        values["modalities"]["image"] |= {"source": f"file:{other}", "sha256": sha256_of(other)}

    with pytest.raises(CheckpointError, match=r"weights of the clip encoder: tensor .* is missing"):
        run(recipe_of(swap), corpus, tmp_path / "run")


def test_ridge_needs_samples_with_one_medium(recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path) -> None:
    def ridge(values: dict[str, Any]) -> None:
        values["modalities"]["image"] |= {"projector": {"type": "mlp"}, "initialisation": {"type": "ridge"}}
        values["stages"][0]["data"] = [{"source": "tones"}]

    with pytest.raises(
        DataError, match=r"modalities\.image\.initialisation\.type: ridge needs training samples with one"
    ):
        run(recipe_of(ridge), corpus, tmp_path / "run")


@pytest.mark.parametrize("when", ["soon", "at the end"])
def test_a_run_that_diverges_ends(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    original, steps = QuartetTrainer.compute_loss, 0

    def diverge(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        loss = original(self, *args, **kwargs)
        if when == "soon":
            return loss * (float("nan") if steps > 2 else 1.0)
        if steps == len(self.batches):
            # The loss of the last step is one, what it does to the weights is not.
            loss.register_hook(lambda gradient: gradient * float("nan"))
        return loss

    monkeypatch.setattr(QuartetTrainer, "compute_loss", diverge)
    what = "the loss is nan at step 10" if when == "soon" else r"projectors\..* is not finite"
    with pytest.raises(ConfigurationError, match=rf"stage align: {what}; lower its learning_rates"):
        run(recipe_of(), corpus, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_what_is_needed_at_the_end_is_checked_at_the_beginning(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(ConfigurationError, match=r'training needs matplotlib, .*: pip install "quartet\[train\]"'):
        run(recipe_of(), corpus, tmp_path / "run")


def test_compiling_needs_a_compiler(
    recipe_of: Callable[..., Recipe], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigurationError, match=r"compile: true needs a C\+\+ compiler \(no-such-compiler\)"):
        run(recipe_of(lambda values: values.update(compile=True)), corpus, tmp_path / "run")
