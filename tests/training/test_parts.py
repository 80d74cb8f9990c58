"""What a run is built from: media that cannot be encoded are named with their sample, and live modalities."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from model.errors import DataError
from tests.training.parts import recipe_values, write_corpus, write_recipe
from training.cache import FeatureCache, OnTheFly
from training.parts import Live, prepare
from training.problems import Kind, ProblemLog
from training.recipe import Recipe, read_recipe

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def recipe(parts: Path) -> Recipe:
    return read_recipe(write_recipe(parts / "parts.yaml", recipe_values(parts)))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A corpus one of whose pictures, in two samples, and one of whose sounds is none."""
    corpus = write_corpus(tmp_path / "corpus", each=2)
    (corpus / "scenes" / "media" / "red-0.png").write_bytes(b"no picture")
    (corpus / "tones" / "media" / "high-1.wav").write_bytes(b"no sound")
    return corpus


def test_unusable_media_are_named_with_file_and_line(recipe: Recipe, damaged: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(recipe, damaged)
    assert str(caught.value).startswith(
        f"{damaged}/scenes/train.jsonl:1: sample scenes/0: {damaged}/scenes/media/red-0"
    )
    assert "red-0.png: not a picture" in str(caught.value)


def test_they_are_left_out_and_counted_where_the_policy_says_so(recipe: Recipe, damaged: Path) -> None:
    problems = ProblemLog()
    policies = dict.fromkeys(recipe.sources, "skip")
    made = prepare(recipe, damaged, on_problem=policies, problems=problems)  # type: ignore[arg-type]
    assert {name: len(samples) for name, samples in made.samples.items()} == {"scenes": 5, "tones": 3, "dialogs": 1}
    assert problems.kinds == {Kind.UNREADABLE: 3}
    assert [problem.where for problem in problems.first] == [
        f"{damaged}/scenes/train.jsonl:1",
        f"{damaged}/tones/train.jsonl:4",
        f"{damaged}/dialogs/train.jsonl:1",
    ]
    for name, features in made.caches.items():
        assert len(features.stack(made.media(name))) == len(made.media(name))
    with pytest.raises(DataError, match=r"tones/train\.jsonl:4: sample tones/3"):
        prepare(recipe, damaged, on_problem={"scenes": "skip", "dialogs": "skip"}, problems=problems)


def test_a_source_without_any_usable_sample_is_refused(recipe: Recipe, damaged: Path) -> None:
    path = damaged / "dialogs" / "train.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    policies = dict.fromkeys(recipe.sources, "skip")
    with pytest.raises(DataError, match=r"dialogs/train\.jsonl: none of its 1 samples has only usable media"):
        prepare(recipe, damaged, on_problem=policies, problems=ProblemLog())  # type: ignore[arg-type]


def test_a_live_modality_is_said_to_be_encoded_each_time(
    recipe: Recipe, corpus: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cached = prepare(recipe, corpus)
    with caplog.at_level(logging.WARNING):
        made = prepare(recipe, corpus, live={"image": Live(reason="its pixels are augmented", augment=lambda m, _: m)})
    assert "image: its pixels are augmented; the feature cache is off" in caplog.text
    images, sounds = made.caches["image"], made.caches["audio"]
    assert isinstance(images, OnTheFly)
    assert isinstance(sounds, FeatureCache)
    media = made.media("image")
    torch.testing.assert_close(images.stack(media), cached.caches["image"].stack(media), atol=5e-3, rtol=5e-3)


def test_a_sample_that_names_its_medium_by_another_path(recipe: Recipe, tmp_path: Path) -> None:
    """The same content under two names is encoded once and found by both."""
    corpus = write_corpus(tmp_path / "corpus", each=1)
    shutil.copy(corpus / "scenes/media/red-0.png", corpus / "scenes/media/copy.png")
    path = corpus / "scenes" / "train.jsonl"
    line = json.loads(path.read_text().splitlines()[0])
    line["id"] = "copy"
    line["messages"][0]["content"][0]["image_url"]["url"] = "media/copy.png"
    path.write_text(path.read_text() + json.dumps(line) + "\n")
    features = prepare(recipe, corpus).caches["image"]
    references = prepare(recipe, corpus).media("image")
    by_name = {reference.path.name: features.get(reference) for reference in references}
    assert torch.equal(by_name["copy.png"], by_name["red-0.png"])
