"""Controls that really take the medium away or exchange it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import MediaRef, Sample
from training.evaluation.variants import shuffle_media, variants, without_media


def sample(index: int, names: list[str], modality: str = "image") -> Sample:
    parts: list[dict[str, Any]] = [{"type": f"{modality}_url", f"{modality}_url": {"url": name}} for name in names]
    content = [{"type": "text", "text": "What colour is it?"}, *parts]
    return Sample(
        id=str(index),
        messages=[{"role": "user", "content": content}, {"role": "assistant", "content": "red"}],
        media=[MediaRef(modality, Path(name)) for name in names],
        meta={"task": "colours/one"},
    )


def test_without_media_leaves_only_text() -> None:
    bare = without_media(sample(0, ["a.png"]))
    assert bare.media == []
    assert [part["type"] for part in bare.messages[0]["content"]] == ["text"]
    alone = sample(0, ["a.png"])
    alone.messages[0]["content"] = alone.messages[0]["content"][1:]
    assert without_media(alone).messages[0]["content"] == ""


@pytest.mark.parametrize("count", [2, 3, 10, 31])
@pytest.mark.parametrize("media", [1, 2])
def test_shuffled_media_are_another_samples_and_all_are_used(count: int, media: int) -> None:
    samples = [sample(i, [f"{i}-{j}.png" for j in range(media)]) for i in range(count)]
    shuffled = shuffle_media(samples, seed=0)
    assert [s.id for s in shuffled] == [s.id for s in samples]
    assert sorted(str(r.path) for s in shuffled for r in s.media) == sorted(
        str(r.path) for s in samples for r in s.media
    )
    assert all(not set(a.media) & set(b.media) for a, b in zip(samples, shuffled, strict=True))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=12), st.integers(0, 5))
def test_samples_that_share_a_medium_get_another_wherever_they_can(pictures: list[int], seed: int) -> None:
    samples = [sample(index, [f"{picture}.png"]) for index, picture in enumerate(pictures)]
    shuffled = shuffle_media(samples, seed=seed)
    assert sorted(str(s.media[0].path) for s in shuffled) == sorted(str(s.media[0].path) for s in samples)
    kept = sum(a.media == b.media for a, b in zip(samples, shuffled, strict=True))
    if len(set(pictures)) == len(pictures):
        assert kept == 0


def test_controls_exist_where_there_is_something_to_control() -> None:
    with_media = [sample(0, ["a.png"]), sample(1, ["b.png"])]
    assert list(variants(with_media)) == ["right", "none", "shuffled"]
    assert list(variants([sample(0, ["a.png"])])) == ["right", "none"], "nothing to exchange the medium for"
    assert list(variants([sample(0, [])])) == ["right"]
    mixed = variants([*with_media, sample(2, [])])
    assert [len(samples) for samples in mixed.values()] == [3, 3, 3]
    assert [samples[2].media for samples in mixed.values()] == [[], [], []]
