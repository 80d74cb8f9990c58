"""Tables: the overview of a model card keeps its columns, and every number its interval."""

import pytest

from training.evaluation.report import Results, Score, markdown
from training.evaluation.scoring import Record


def test_overview_and_interval() -> None:
    score = Score(task="t", samples=100, right=0.5, none=0.0, shuffled=0.1, ceiling=0.8, chance=None)
    assert score.ratio == pytest.approx(0.625)
    # Wilson's half width at p = 0.5, n = 100.
    assert score.interval == pytest.approx(0.0962, abs=1e-3)
    row = markdown([score]).splitlines()[2]
    assert row == "| t | 100 | 50.0 ± 9.6 | 0.0 | 10.0 | 80.0 | 0.62 |  |"


def record(name: str, variant: str, right: bool, **values: object) -> Record:
    return Record(
        task="a|b", id=name, variant=variant, language="en", kind=["image"], references=["x"], answers=["x"],
        exact=right, normalised=right, meteor=0.5 * right, harmonic_mean=float(right), **values,  # type: ignore[arg-type]
    )  # fmt: skip


def test_failures_are_counted_and_names_cannot_break_the_table() -> None:
    records = [
        record("0", "right", True, surprise=0.0, tokens=1),
        record("1", "right", False, surprise=None, failures=["400: no"]),
        record("0", "none", False, surprise=2.0, tokens=1),
        record("1", "none", False, surprise=2.0, tokens=1),
    ]
    results = Results.of(records, {"model": "m"}, {}, {})
    (row,) = [row for row in results.rows if row.scope == "task"]
    assert row.failed == 1
    assert row.variants["right"]["perplexity"].value == 1.0, "of what is known"
    table = results.table()
    assert "| a\\|b | 2 | 50.0 [9.5, 90.5] | 0.0 [0.0, 65.8] |  | 1 |" in table
    assert "- model: m" in table
    assert results.integral is None, "one sample has no perplexity"
