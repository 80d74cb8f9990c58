"""The part of a corpus that a trial sees."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.errors import DataError
from tests.training.parts import image, sample, text, write_json_lines
from training.ablation.subset import Subset, corpus_hash
from training.data import read_samples


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 40 colours, 20 shapes and 10 test samples over two pictures."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "scenes" / "media").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        (folder / "scenes" / "media" / name).write_bytes(b"")
    for file, count in (("train", 60), ("test", 10)):
        samples = [
            sample(
                f"{file}/{i}",
                ([image(f"media/{'ab'[i % 2]}.png"), text("?")], "red"),
                task="scenes/shape" if i % 3 == 0 else "scenes/colour",
            )
            for i in range(count)
        ]
        write_json_lines(folder / "scenes" / f"{file}.jsonl", samples)
    return folder


def ids(folder: Path, file: str = "train") -> set[str]:
    return {s.id for s in read_samples(folder / "scenes" / f"{file}.jsonl")}


@given(st.integers(0, 5), st.lists(st.floats(0.01, 1), min_size=2, max_size=2), st.integers(1, 50))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_smaller_share_is_a_part_of_a_larger_one(
    many: Path, tmp_path: Path, seed: int, shares: list[float], most: int
) -> None:
    chosen = []
    for share in sorted(shares):
        count = Subset(["scenes"], [], most, share, None, seed).write_training(many, tmp_path)
        chosen.append(ids(tmp_path))
        assert count == len(chosen[-1]) == sum(max(1, round(share * min(most, n))) for n in (40, 20))
    assert chosen[0] <= chosen[1]


def test_seeds_choose_others_and_tests_stay(many: Path, tmp_path: Path) -> None:
    chosen, asked = [], []
    for seed in (0, 1):
        subset = Subset(["scenes"], ["scenes/colour"], None, 0.5, 4, seed)
        assert subset.write_training(many, tmp_path / str(seed)) == 20
        subset.write_test(many, tmp_path / str(seed))
        chosen.append(ids(tmp_path / str(seed)))
        asked.append(ids(tmp_path / str(seed), "test"))
    assert chosen[0] != chosen[1]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 4


def test_media_are_found_where_they_were(many: Path, tmp_path: Path) -> None:
    Subset(["scenes"], [], None, 1.0, None).write_training(many, tmp_path / "deep" / "er")
    moved = read_samples(tmp_path / "deep" / "er" / "scenes" / "train.jsonl")
    before = read_samples(many / "scenes" / "train.jsonl")
    assert {s.id: (s.media, s.answer, s.meta) for s in moved} == {s.id: (s.media, s.answer, s.meta) for s in before}


def test_a_task_that_is_not_there_is_named(many: Path, tmp_path: Path) -> None:
    subset = Subset(["scenes"], ["scenes/size"], None, 1.0, None)
    with pytest.raises(DataError, match="has no sample of scenes/size"):
        subset.write_training(many, tmp_path)
    with pytest.raises(DataError, match=r"no test\.jsonl of scenes has a sample of the sweep's tasks"):
        subset.write_test(many, tmp_path)


def test_the_hash_is_of_the_samples(many: Path, tmp_path: Path) -> None:
    first = corpus_hash(many, ["scenes"])
    for file in ("train", "test"):
        write_json_lines(tmp_path / "scenes" / f"{file}.jsonl", [sample(file, ("?", "red"))])
    second = corpus_hash(tmp_path, ["scenes"])
    write_json_lines(tmp_path / "scenes" / "test.jsonl", [sample("other", ("?", "red"))])
    assert len({first, second, corpus_hash(tmp_path, ["scenes"])}) == 3
    with pytest.raises(DataError, match=r"tones/train\.jsonl does not exist"):
        corpus_hash(tmp_path, ["tones"])
