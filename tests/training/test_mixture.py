"""Mixtures: every source has its share, every sample comes round, and what is held out is not trained on."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DataError
from training.data import MediaRef, Sample
from training.mixture import apportion, hold_out, mix, of_tasks
from training.stage import Mixture, Stage


def samples(source: str, count: int, media: int | None = None) -> list[Sample]:
    """Samples of which each, or each group of `count / media`, shows a medium of its own."""
    shown = [MediaRef("image", Path(f"{source}-{i % (media or count)}.png")) for i in range(count)]
    return [Sample(id=f"{source}/{i}", messages=[], media=[shown[i]]) for i in range(count)]


def stage(*mixtures: Mixture, **fields: Any) -> Stage:
    return Stage(name="align", learning_rates={"projectors": 1e-3}, data=list(mixtures), **fields)


def ids(members: list[Sample]) -> list[str]:
    return [sample.id for sample in members]


@pytest.mark.parametrize("passes", [0.25, 1, 2.5])
def test_each_sample_is_seen_as_often_as_its_source_says(passes: float) -> None:
    chosen = mix(stage(Mixture(source="a", passes=passes)), {"a": samples("a", 100)}, seed=0)["a"]
    assert len(chosen) == round(100 * passes)
    counts = {ids(chosen).count(f"a/{i}") for i in range(100)}
    assert max(counts) - min(counts) <= 1
    assert chosen == mix(stage(Mixture(source="a", passes=passes)), {"a": samples("a", 100)}, seed=0)["a"]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    weights=st.lists(st.floats(0.5, 4), min_size=4, max_size=4),
    total=st.integers(20, 200),
    seed=st.integers(0, 3),
)
def test_weights_share_out_an_epoch(sizes: list[int], weights: list[float], total: int, seed: int) -> None:
    mixtures = [Mixture(source=str(i), weight=weights[i]) for i in range(len(sizes))]
    given_samples = {str(i): samples(str(i), size) for i, size in enumerate(sizes)}
    chosen = mix(stage(*mixtures, samples=total), given_samples, seed)
    assert sum(map(len, chosen.values())) == total
    whole = sum(weights[: len(sizes)])
    for i, size in enumerate(sizes):
        assert abs(len(chosen[str(i)]) - total * weights[i] / whole) < 1
        counts = [ids(chosen[str(i)]).count(f"{i}/{n}") for n in range(size)]
        assert max(counts) - min(counts) <= 1, "all of a source come round before any comes again"
    assert chosen == mix(stage(*mixtures, samples=total), given_samples, seed)


def test_without_a_number_an_epoch_is_as_long_as_the_sources() -> None:
    mixtures = [Mixture(source="a", weight=3), Mixture(source="b", weight=1)]
    chosen = mix(stage(*mixtures), {"a": samples("a", 10), "b": samples("b", 30)}, seed=0)
    assert {name: len(members) for name, members in chosen.items()} == {"a": 30, "b": 10}


def test_only_samples_of_the_tasks_that_are_asked_for() -> None:
    given_samples = {name: samples(name, 4) for name in "abc"}
    asked = stage(Mixture(source="a"), Mixture(source="b", tasks=[given_samples["b"][0].task]))
    assert of_tasks(asked, given_samples) == {"a": given_samples["a"], "b": given_samples["b"]}
    asked = stage(Mixture(source="a", tasks=["a/none", "a/other"]))
    assert of_tasks(asked, given_samples) == {"a": []}
    with pytest.raises(DataError, match="stage align: source a holds no sample of a/none or a/other to train on"):
        mix(asked, of_tasks(asked, given_samples), seed=0)


def test_a_source_that_gives_nothing_is_named() -> None:
    with pytest.raises(DataError, match="stage align: source a holds no sample to train on"):
        mix(stage(Mixture(source="a")), {"a": []}, seed=0)
    with pytest.raises(DataError, match=r"stage align: passes 0\.01 takes none of a's samples"):
        mix(stage(Mixture(source="a", passes=0.01)), {"a": samples("a", 10)}, seed=0)
    mixtures = [Mixture(source="a", weight=1e-6), Mixture(source="b", weight=1)]
    with pytest.raises(DataError, match=r"stage align: weight 1e-06 takes none of a's samples out of 20; raise it or"):
        mix(stage(*mixtures), {"a": samples("a", 10), "b": samples("b", 10)}, seed=0)


@settings(deadline=None)
@given(st.integers(0, 1000), st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6))
def test_parts_add_up(total: int, weights: dict[str, float]) -> None:
    counts = apportion(total, weights)
    assert sum(counts.values()) == total
    assert min(counts.values()) >= 0


@settings(deadline=None)
@given(count=st.integers(1, 120), media=st.integers(1, 40), share=st.floats(0, 0.5), seed=st.integers(0, 3))
def test_what_is_held_out_shows_nothing_that_is_trained_on(count: int, media: int, share: float, seed: int) -> None:
    given_samples = samples("a", count, media)
    train, held = hold_out(given_samples, share, seed)
    assert sorted(ids(train) + ids(held)) == sorted(ids(given_samples))
    assert not {m for s in train for m in s.media} & {m for s in held for m in s.media}
    # Groups are of one size, up to one: as near as whole groups come.
    assert abs(len(held) - share * count) <= -(-count // media)
    assert (train, held) == hold_out(given_samples, share, seed)


def test_media_that_are_shown_together_stay_together() -> None:
    refs = [MediaRef("image", Path(f"{i}.png")) for i in range(6)]
    chain = [Sample(id=str(i), messages=[], media=[refs[i], refs[i + 1]]) for i in range(5)]
    alone = [Sample(id="text", messages=[], media=[])]
    train, held = hold_out(chain + alone, 0.2, seed=0)
    assert (ids(train), ids(held)) == (["0", "1", "2", "3", "4"], ["text"])
