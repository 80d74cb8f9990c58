"""Weights whose hash a recipe does not know: recorded by the first run, checked by every later one."""

import json
from pathlib import Path

import pytest

from model.errors import ConfigurationError, SourceError
from model.sources import sha256_of
from tests.training.parts import recipe_values, write_recipe
from training.check.tokens import Measure
from training.parts import prepare
from training.recipe import Recipe, read_recipe
from training.weights import recorded


@pytest.fixture
def recipe(parts: Path, tmp_path: Path, own_cache: Path) -> Recipe:
    """A recipe that knows the hash of its image encoder only."""
    values = recipe_values(parts)
    for part in (values["llm"], values["modalities"]["audio"]):
        part["sha256"] = "record"
        part["source"] = part["source"].replace("file:", f"file:{parts}/")
    values["modalities"]["image"]["source"] = f"file:{parts}/image.safetensors"
    return read_recipe(write_recipe(tmp_path / "mine.yaml", values))


def test_the_first_run_records_what_it_was_given(
    recipe: Recipe, parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = recorded(recipe, tmp_path / "run")
    assert found.llm.sha256 == sha256_of(parts / "llm")
    assert found.modalities["audio"].sha256 == sha256_of(parts / "audio.safetensors")
    assert found.modalities["image"] == recipe.modalities["image"]
    written = json.loads((tmp_path / "run/weights.json").read_text())
    assert written == {
        part.source: {"source": part.source, "sha256": part.sha256}
        for part in (found.llm, found.modalities["audio"].part)
    }
    for part in (found.llm, found.modalities["audio"].part):
        assert f"source: {part.source}\n  sha256: {part.sha256}" in caplog.text
    caplog.clear()
    assert recorded(recipe, tmp_path / "run") == found
    assert caplog.text == ""


def test_later_runs_check_it(recipe: Recipe, parts: Path, tmp_path: Path, corpus: Path) -> None:
    copy = tmp_path / "audio.safetensors"
    copy.write_bytes((parts / "audio.safetensors").read_bytes())
    values = {**vars(recipe), "modalities": dict(recipe.modalities)}
    audio = recipe.modalities["audio"]
    values["modalities"]["audio"] = type(audio)(**{**vars(audio), "source": f"file:{copy}"})
    moved = Recipe(**values)
    recorded(moved, tmp_path / "run")
    copy.write_bytes(copy.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(SourceError, match=r"audio\.safetensors has sha256 .* expected"):
        prepare(recorded(moved, tmp_path / "run"), corpus)


def test_a_recipe_that_knows_all_hashes_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    known = recorded(recipe, tmp_path / "one")
    assert recorded(known, tmp_path / "two") is known
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not valid"), ("[]", "an object"), ('{"a": {}}', "a: missing key")]
)
def test_a_damaged_record_is_said(recipe: Recipe, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(ConfigurationError, match=f"weights.json.*{message}"):
        recorded(recipe, tmp_path)


def test_samples_are_measured_before_anything_is_recorded(recipe: Recipe, parts: Path) -> None:
    """`quartet data check --recipe` comes before the first run."""
    assert Measure.of(recipe).limits == dict.fromkeys(recipe.sources, 128)
