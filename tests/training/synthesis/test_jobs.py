"""The plan: decided by the seed, even over media and languages, its ids stable."""

from collections import Counter
from pathlib import Path

import pytest

from model.errors import ConfigurationError
from tests.training.synthesis.parts import medium, sample, world, write
from training.synthesis.gather import gather
from training.synthesis.jobs import Plan, Request, content_digest, plan
from training.synthesis.templates import Templates


def planned(folder: Path, templates: Templates | None = None, **request: object) -> Plan:
    templates = templates or Templates()
    pool = gather([folder / "train.jsonl"])
    return plan(pool, Request(**request), templates.usable, templates.version)  # type: ignore[arg-type]


def test_the_seed_decides_everything(toys: Path) -> None:
    first, again, other = (planned(toys, seed=seed, count=20) for seed in (0, 0, 1))
    assert [job.id for job in first.jobs] == [job.id for job in again.jobs]
    assert not {job.id for job in first.jobs} & {job.id for job in other.jobs}
    assert len({job.id for job in first.jobs}) == len(first.jobs)


def test_moved_files_are_the_same_jobs(toys: Path, tmp_path: Path) -> None:
    moved = world(tmp_path / "elsewhere")
    assert [job.id for job in planned(moved, count=5).jobs] == [job.id for job in planned(toys, count=5).jobs]


def test_a_larger_count_keeps_the_jobs_that_there_were(toys: Path) -> None:
    few, many = (planned(toys, count=count, kinds=("relations", "merge")) for count in (4, 8))
    assert {job.id for job in few.jobs} < {job.id for job in many.jobs}


def test_ids_depend_on_what_the_dialog_depends_on(toys: Path, tmp_path: Path) -> None:
    ids = {job.id for job in planned(toys, count=8).jobs}

    class Newer(Templates):
        def version(self, kind: str) -> str:
            return "templates:newer"

    assert not ids & {job.id for job in planned(toys, Newer(), count=8).jobs}
    changed = world(tmp_path / "changed")
    for picture in (changed / "media").iterdir():
        picture.write_bytes(picture.read_bytes() + b"x")
    assert not ids & {job.id for job in planned(changed, count=8).jobs}


def test_languages_share_the_dialogs(toys: Path) -> None:
    for kind in ("relations", "merge", "conversation"):
        made = planned(toys, kinds=(kind,), languages=("en", "ms", "mixed"), count=6)
        assert Counter(job.language for job in made.jobs) == {"en": 2, "ms": 2, "mixed": 2}


def test_groups_hold_distinct_media_and_differ(toys: Path) -> None:
    jobs = planned(toys, kinds=("relations",), count=60, max_media=5).jobs
    assert len(jobs) == 60
    assert {len(job.media) for job in jobs} == {2, 3, 4, 5}
    assert all(len(set(job.digests)) == len(job.media) for job in jobs)
    assert len({(job.language, *sorted(job.digests)) for job in jobs}) == len(jobs)
    assert {medium.modality for job in jobs for medium in job.media} == {"image", "audio"}
    uses = Counter(digest for job in jobs for digest in job.digests)
    assert max(uses.values()) <= 4 * min(uses.values()), "no medium is used much more than another"


def test_half_of_the_groups_share_a_word(tmp_path: Path) -> None:
    """Among many things of which few are alike, related media would hardly ever meet by chance."""
    words = [f"{first}{second}" for first in ("lamp", "boat", "rose", "fern", "coin") for second in "abcdefgh"]
    samples = [
        sample(str(index), f"{index}.png", "", f"a {word}", task="x/caption") for index, word in enumerate(words * 2)
    ]
    folder = write(tmp_path, samples)
    jobs = planned(folder, kinds=("relations",), languages=("en",), count=40, max_media=2).jobs
    alike = sum(job.media[0].annotations[0].text == job.media[1].annotations[0].text for job in jobs)
    assert 10 < alike < 30


def test_what_lacks_is_counted(toys: Path, tmp_path: Path) -> None:
    made = planned(toys, kinds=("reasoning",), languages=("en",), count=10)
    assert len(made.jobs) == 1
    assert made.skipped == {"reasoning for lack of media with what it needs": 9}
    alone = write(tmp_path, [sample("1", "a.png", "", "A dog.", task="x/caption")])
    assert planned(alone, kinds=("relations",), count=3).skipped == {
        "relations for lack of media with what it needs": 3
    }


def test_copies_of_a_medium_do_not_meet(tmp_path: Path) -> None:
    folder = write(tmp_path, [sample(str(i), f"{i}.png", "", f"a dog {i}", task="x/caption") for i in range(4)])
    for index in range(4):
        (folder / f"{index}.png").write_bytes(b"the same")
    assert planned(folder, kinds=("relations",), count=3).jobs == []


def test_impossible_requests_are_named() -> None:
    for wrong, name in (
        ({"kinds": ("poems",)}, "kind: 'poems' is not one of conversation"),
        ({"languages": ("fr",)}, "language: 'fr' is not one of en, mixed, ms"),
        ({"count": 0}, "count: 0"),
        ({"max_media": 11}, "max_media: 11"),
        ({"languages": ("en", "en")}, "each may be named once"),
    ):
        with pytest.raises(ConfigurationError, match=name):
            Request(**wrong)  # type: ignore[arg-type]


def test_names_do_not_count_in_digests(tmp_path: Path) -> None:
    first, second = medium(tmp_path / "a.png"), medium(tmp_path / "b.png")
    assert content_digest(first) != content_digest(second)
    second.reference.path.write_bytes(first.reference.path.read_bytes())
    assert content_digest(first) == content_digest(second)
