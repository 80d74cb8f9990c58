"""The arithmetic of `quartet bench`: times, throughputs, ratios and their intervals, on outcomes made by hand."""

import numpy as np
import pytest

from server.bench.client import Events, Outcome
from server.bench.compare import DRAWS, compare
from server.bench.load import Block, arrivals
from server.bench.metrics import distribution, summary, times


def outcome(started: float, arrivals: list[float], tokens: int | None = None, **fields: object) -> Outcome:
    given = tokens if tokens is not None else len(arrivals)
    return Outcome(started=started, arrivals=arrivals, output_tokens=given, **fields)  # type: ignore[arg-type]


def block(*outcomes: Outcome, seconds: float = 1.0, cpu: float = 0.0) -> Block:
    return Block(outcomes=outcomes, seconds=seconds, cpu_seconds=cpu)


def test_times_of_one_answer() -> None:
    # Two tokens came in the last piece.
    assert times(outcome(10.0, [10.5, 10.75, 11.5], tokens=5)) == {
        "ttft": [0.5],
        "tpot": [0.25],
        "itl": [0.25, 0.75],
        "e2e": [1.5],
    }
    assert times(outcome(1.0, [1.5])) == {"ttft": [0.5], "tpot": [], "itl": [], "e2e": [0.5]}


def test_summary() -> None:
    good = [
        outcome(
            0.0,
            [0.125 * n, 0.125 * n + 0.5],
            prompt_tokens=30,
            cached_tokens=6,
            media={"image": 2, "audio": 1},
            media_tokens={"image": 8, "audio": 4},
            repeated=1,
        )
        for n in (1, 2, 3, 4)
    ]
    failed = [Outcome(started=0.0, error="503: busy"), Outcome(started=0.0, error="503: busy", late=0.25)]
    found = summary([block(*good[:2], *failed, seconds=1.5, cpu=0.25), block(*good[2:], seconds=2.5, cpu=0.75)])
    assert (found["requests"], found["failed"], found["error_rate"]) == (6, 2, 2 / 6)
    assert found["errors"] == {"503: busy": 2}
    assert found["seconds"] == 4.0
    assert found["requests_per_second"] == 1.0
    assert found["output_tokens_per_second"] == 2.0
    assert found["total_tokens_per_second"] == (4 * 30 + 8) / 4
    assert found["media_per_second"] == {"image": 2.0, "audio": 1.0}
    assert found["tokens_per_medium"] == {"image": 4.0, "audio": 4.0}
    assert found["repeated_media_share"] == 4 / 12
    assert found["cached_token_share"] == 0.2
    assert (found["prompt_tokens_per_request"], found["output_tokens_per_request"]) == (30, 2)
    assert found["ttft"] == pytest.approx({"mean": 312.5, "p50": 312.5, "p90": 462.5, "p99": 496.25})
    assert found["itl"] == found["tpot"] == {"mean": 500.0, "p50": 500.0, "p90": 500.0, "p99": 500.0}
    assert found["e2e"]["p50"] == 812.5
    assert found["client_cpu_share"] == 0.25
    assert found["latest_start"] == 0.25


def test_summary_of_nothing_but_failures() -> None:
    found = summary([block(Outcome(started=0.0, error="no"))])
    assert (found["error_rate"], found["requests_per_second"]) == (1.0, 0.0)
    assert found["ttft"] is found["tpot"] is found["cached_token_share"] is None
    assert distribution([]) is None


def test_ratios() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(40):
        # The machine is slower or faster for both of a pair alike; ours takes 10 % longer.
        pace = float(rng.uniform(0.5, 2))
        theirs.append(block(outcome(0.0, [pace, 2 * pace]), seconds=2 * pace))
        ours.append(block(outcome(0.0, [1.1 * pace, 2.2 * pace]), seconds=2.2 * pace))
    found = compare(ours, theirs)
    assert set(found) == {
        "ttft_p50",
        "tpot_p50",
        "itl_p50",
        "e2e_p50",
        "requests_per_second",
        "output_tokens_per_second",
    }
    for name, ratio in found.items():
        expected = 1 / 1.1 if name.endswith("second") else 1.1
        assert ratio.value == pytest.approx(expected)
        # Paired, so the pace of the machine does not widen the interval.
        assert ratio.low == pytest.approx(expected)
        assert ratio.high == pytest.approx(expected)
        assert ratio.pairs == 40


def test_intervals_hold_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of intervals for two servers that are the same, about 95 % contain 1."""
    # Coarser ends of 40 intervals, in a tenth of the time.
    monkeypatch.setattr("server.bench.compare.DRAWS", 200)
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(40):
        sides = [[block(outcome(0.0, [float(rng.gamma(4, 0.05))])) for _ in range(30)] for _ in range(2)]
        ratio = compare(*sides)["ttft_p50"]
        assert ratio.low is not None
        assert ratio.high is not None
        hits += ratio.low <= 1 <= ratio.high
    assert hits >= 34


def test_too_few_pairs_have_no_interval_and_failures_no_ratio() -> None:
    one = [block(outcome(0.0, [0.2]), seconds=2.0)]
    other = [block(outcome(0.0, [0.1]), seconds=1.0)]
    found = compare(one, other)
    assert (found["ttft_p50"].value, found["ttft_p50"].low) == (2.0, None)
    assert "tpot_p50" not in found
    assert compare(one, [block(Outcome(started=0.0, error="no"))]) == {}
    assert DRAWS >= 1000


def test_arrivals_are_poisson() -> None:
    moments = arrivals(20_001, 4.0, np.random.default_rng(0))
    gaps = np.diff(moments)
    assert moments[0] == 0.0
    assert gaps.mean() == pytest.approx(0.25, rel=0.03)
    assert gaps.std() == pytest.approx(0.25, rel=0.03)
    assert [arrivals(count, 4.0, np.random.default_rng(0)) for count in (0, 1)] == [[], [0.0]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_cut_wherever_the_network_cuts(size: int) -> None:
    stream = b': hello\n\ndata: {"a": 1}\n\nevent: x\r\ndata: {"b": 2}\r\n\r\ndata: [DONE]\n\n'
    events = Events()
    found = [event for at in range(0, len(stream), size) for event in events.feed(stream[at : at + size])]
    assert found == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]
