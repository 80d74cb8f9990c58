"""Runs share the work: nothing is taken twice, and what a dead run held is free again."""

import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.cache.toys import exit_code, in_child, leftovers
from training.cache.claims import Claims, clean

DIGESTS = [f"{index:064x}" for index in range(20)]


def test_nothing_is_taken_twice(tmp_path: Path) -> None:
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        assert first.take(lambda: DIGESTS, 8) == (DIGESTS[:8], 0)
        assert second.take(lambda: DIGESTS, 100)[0] == DIGESTS[8:]
        assert first.take(lambda: DIGESTS, 8) == ([], 12)
        assert second.take(lambda: DIGESTS, 8) == ([], 8)
        first.release(DIGESTS[:3])
        assert second.take(lambda: DIGESTS, 100)[0] == DIGESTS[:3]
    assert not list(leftovers(tmp_path))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 7), st.booleans()), max_size=25))
def test_in_any_order(tmp_path: Path, steps: list[tuple[int, int, bool]]) -> None:
    """Each medium is in the hands of at most one run, whatever three runs do."""
    runs = [Claims(tmp_path) for _ in range(3)]
    held: list[set[str]] = [set() for _ in runs]
    done: set[str] = set()
    for run in runs:
        run.__enter__()
    for number, most, publish in steps:
        taken, _ = runs[number].take(lambda: [d for d in DIGESTS if d not in done], most)  # noqa: B023  called at once
        assert not any(held[other] & set(taken) for other in range(3))
        held[number] |= set(taken)
        if publish:
            done |= held[number]
            runs[number].release(held[number])
            held[number] = set()
    for run in runs:
        run.__exit__(None, None, None)
    assert not list(leftovers(tmp_path))


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_dead_run_held_is_free_again(tmp_path: Path, way: signal.Signals) -> None:
    def hold() -> None:
        with Claims(tmp_path) as claims:
            claims.take(lambda: DIGESTS, 15)
            claims.partial().write_bytes(b"half a shard")
            (tmp_path / "ready").touch()
            time.sleep(60)

    child = in_child(hold)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    with Claims(tmp_path) as claims:
        assert clean(tmp_path) == 2
        assert len(list(tmp_path.glob(".partial-*"))) == 1, "of a run that lives"
        assert claims.take(lambda: DIGESTS[:15], 20) == ([], 15)
        os.kill(child, way)
        assert exit_code(child) == -way
        assert claims.take(lambda: DIGESTS, 20) == (DIGESTS, 0)
        assert [path.stem for path in leftovers(tmp_path)] == [claims.run] * 2
    assert not list(leftovers(tmp_path))


def test_what_belongs_to_no_run_is_removed(tmp_path: Path) -> None:
    assert clean(tmp_path) == 0
    with Claims(tmp_path) as claims:
        mine = claims.partial()
        mine.write_bytes(b"half a shard")
        (tmp_path / ".partial-of-nobody").write_bytes(b"half a description")
        assert clean(tmp_path) == 1
        assert list(tmp_path.glob(".partial-*")) == [mine]
    assert clean(tmp_path) == 0
    assert not list(leftovers(tmp_path))


def test_a_damaged_claim_claims_nothing(tmp_path: Path) -> None:
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        first.take(lambda: DIGESTS, 5)
        (tmp_path / "runs" / f"{first.run}.json").write_text('["')
        assert second.take(lambda: DIGESTS, 30)[0] == DIGESTS
