"""A short soak of the shared server: every counter adds up, nothing is left behind. The long one is in docs/soak.md."""

import asyncio

from benchmarks.soak import Soak, Watched, table
from benchmarks.soak_plan import CANCELLED, GOOD, MALFORMED
from tests.support.serving import ServerProcess


def test_counters_add_up_and_nothing_is_left_behind(server: ServerProcess) -> None:
    soak = Soak(server.url, server.process.pid, "tiny", None)
    report = asyncio.run(soak.run(200, 6, seed=3))
    assert report["problems"] == []
    assert report["kinds"] == {GOOD: 160, MALFORMED: 20, CANCELLED: 20}
    assert sum(report["statuses"].values()) == 200
    assert set(report["statuses"]) == {"200", "400", "404"}
    assert any(entry["at_the_end_mib"] > 50 for entry in report["memory"])
    assert table(report).count("\n") >= 6


def test_slope() -> None:
    watched = Watched("x", 1, [(0, 10**9), *((n, 5_000 + 7 * n) for n in range(100, 200, 10))])
    assert round(watched.slope(100), 6) == 7
    assert Watched("x", 1, [(5, 3), (5, 4)]).slope(0) == 0
