"""Means, differences and savings, against numbers worked out by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.ablation.results import outcomes, result
from training.ablation.plot import draw_scores, series
from training.ablation.summary import Mean, pooled, samples_for, summarise
from training.ablation.sweep import read_sweep


def test_a_mean_has_the_standard_error_of_the_seeds() -> None:
    mean = Mean.of([0.2, 0.4, 0.6])
    assert mean.value == pytest.approx(0.4)
    assert mean.error == pytest.approx(0.2 / math.sqrt(3))
    assert Mean.of([0.5]).error is None


def test_the_spread_is_pooled_within_the_groups() -> None:
    spread, freedom = pooled([[0.1, 0.3], [0.6, 0.6, 0.9], [0.7]])
    # Squares: 0.02 and 0.06, over 1 + 2 degrees of freedom.
    assert spread == pytest.approx(math.sqrt(0.08 / 3))
    assert freedom == 3
    assert pooled([[0.5], [0.1]]) == (None, 0)


def test_differences_are_clear_only_beyond_the_spread_of_the_seeds() -> None:
    sweep = read_sweep(Path("tokens"))
    scores = {"tokens 1": (0.20, 0.24), "tokens 4": (0.50, 0.54), "tokens 16": (0.52, 0.56)}
    summary = summarise(
        sweep,
        outcomes(
            sweep,
            {
                (name, seed): result({"a": value})
                for name, values in scores.items()
                for seed, value in enumerate(values)
            },
        ),
    )
    points = {point.setting.name: point for point in summary.points}
    assert points["tokens 4"].difference is None, "the baseline itself"
    low, high = points["tokens 1"].difference, points["tokens 16"].difference
    assert low is not None
    assert high is not None
    # Pooled deviation 0.02828 with 3 degrees of freedom: t = 3.182, and sqrt(1/2 + 1/2) = 1.
    assert low.margin == pytest.approx(3.1824 * 0.028284, rel=1e-4)
    assert low.value == pytest.approx(-0.3)
    assert low.clear
    assert high.value == pytest.approx(0.02)
    assert not high.clear


def test_the_score_is_the_mean_over_tasks_and_a_control_needs_all_of_them() -> None:
    sweep = read_sweep(Path("base"))
    found = result({"a": 0.2, "b": 0.6})
    assert found.mean("right") == pytest.approx(0.4)
    found = replace(found, tasks={**found.tasks, "b": replace(found.tasks["b"], ceiling=None)})
    assert found.mean("ceiling") is None
    (point,) = summarise(sweep, outcomes(sweep, {("base", 0): found})).points
    assert point.tasks == {"a": 0.2, "b": 0.6}
    assert point.ceiling is None
    assert point.seeds == [0]


@pytest.mark.parametrize(
    ("target", "samples", "bound"),
    [(0.1, 10.0, True), (0.2, 10.0, True), (0.4, math.sqrt(1000), False), (0.6, 100.0, False), (0.61, None, False)],
)
def test_samples_for_a_score(target: float, samples: float | None, bound: bool) -> None:
    found, smallest = samples_for(target, [(10, 0.2), (100, 0.6), (1000, 0.3)])
    assert found == pytest.approx(samples)
    assert smallest == bound


def test_what_a_start_saves() -> None:
    sweep = read_sweep(Path("data"))
    scores = {
        "random": {0.1: 0.0, 0.25: 0.1, 0.5: 0.2, 1.0: 0.4},
        "ridge": {0.1: 0.3, 0.25: 0.5, 0.5: 0.5, 1.0: 0.5},
        "names": {0.1: 0.6, 0.25: 0.7, 0.5: 0.7, 1.0: 0.8},
    }
    summary = summarise(
        sweep,
        outcomes(
            sweep,
            {
                (f"start {start}, share {share}", 0): result({"a": value}, samples=round(1000 * share), tokens=9)
                for start, curve in scores.items()
                for share, value in curve.items()
            },
        ),
    )
    ridge, names, told, more = summary.savings
    assert (told.measure, told.series) == ("told", "ridge")
    assert told.target == pytest.approx(math.log(1.4))
    assert (more.series, more.samples, more.bound) == ("names", 100, True)
    assert (ridge.series, ridge.baseline, ridge.target, ridge.baseline_samples) == ("ridge", "random", 0.4, 1000)
    assert ridge.samples == pytest.approx(math.sqrt(100 * 250))
    assert ridge.ratio == pytest.approx(1000 / math.sqrt(100 * 250))
    assert (names.samples, names.ratio, names.bound) == (100, 10, True)
    differences = {p.setting.name: p.difference for p in summary.points}
    assert differences["start random, share 0.5"] is None
    assert differences["start names, share 0.5"].value == pytest.approx(0.5), "at the same share"  # type: ignore[union-attr]
    assert list(series(summary)) == ["random", "ridge", "names"]
    assert [point.samples for point in series(summary)["ridge"]] == [100, 250, 500, 1000]


def test_every_sweep_with_a_result_has_a_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import axes

    titles: list[str] = []
    original = axes.Axes.set_title

    def note(self: axes.Axes, label: str, *rest: Any, **named: Any) -> Any:
        titles.append(label)
        return original(self, label, *rest, **named)

    monkeypatch.setattr(axes.Axes, "set_title", note)
    found = []
    for name, first in (("tokens", "tokens 4"), ("tuning", "tuned projector"), ("data", "start names, share 0.5")):
        sweep = read_sweep(Path(name))
        found.append(summarise(sweep, outcomes(sweep, {(first, 0): result({"a": 0.5})})))
    found.append(summarise(sweep, outcomes(sweep, {(first, 0): None})))
    draw_scores(found, tmp_path / "scores.png")
    assert titles == ["How many tokens per medium?", "What is tuned?", "How many samples, from which start?"]
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    draw_scores(found[-1:], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
