"""Trials -> what a report shows: means and standard errors over seeds, differences, samples saved.

Two settings are compared with the standard deviation between seeds that all settings of a sweep have in common (pooled,
as in Student's test for equal variances): with two or three seeds the own one of each says next to nothing.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from training.ablation.sweep import SHARE, Setting, Sweep
from training.ablation.trial import Result

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Outcome:
    """How one trial ended: a result, an error, or neither yet."""

    setting: Setting
    seed: int
    result: Result | None
    error: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds."""

    value: float
    error: float | None
    """Standard error of the mean; None with a single seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Mean":
        """Of at least one value."""
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(value=statistics.fmean(values), error=error)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score less the baseline's."""

    value: float
    margin: float | None
    """Half of the 95 % interval; None where no setting has two seeds."""

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.margin is not None and abs(self.value) > self.margin


@dataclass(frozen=True, kw_only=True)
class Point:
    """One setting over its seeds."""

    setting: Setting
    seeds: list[int]
    """Those with a result."""
    right: Mean
    none: float | None
    shuffled: float | None
    ceiling: float | None
    tasks: dict[str, float]
    """Task -> mean accuracy."""
    perplexity: float
    told: Mean | None
    """What the medium tells, nats per token; see `Result.told`."""
    samples: float
    training_tokens: float
    tokens_per_medium: float
    """Mean over the modalities."""
    seconds: float
    difference: Difference | None = None
    """From the sweep's baseline."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """How many samples a setting needs for what the baseline reaches with all of its own."""

    measure: str
    """`score`, or `told`."""
    series: str
    """Labels of the axes other than the share."""
    baseline: str
    target: float
    """What the baseline reaches with all of its samples."""
    baseline_samples: float
    samples: float | None
    """None: it never reaches the target."""
    bound: bool = False
    """Whether even its smallest share reaches it, so that it needs at most `samples`."""

    @property
    def ratio(self) -> float | None:
        """Times fewer samples."""
        return self.baseline_samples / self.samples if self.samples else None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One sweep."""

    sweep: Sweep
    points: list[Point]
    savings: list[Saving]
    failed: list[Outcome]
    missing: list[Outcome]
    """Neither result nor error yet."""


def summarise(sweep: Sweep, outcomes: Sequence[Outcome]) -> Summary:
    """Everything about one sweep."""
    settings: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        settings.setdefault(outcome.setting.name, []).append(outcome)
    points = [point for members in settings.values() if (point := _point(members)) is not None]
    scores = {name: [_score(o.result) for o in members if o.result] for name, members in settings.items()}
    spread, freedom = pooled(list(scores.values()))
    points = [_compared(point, points, sweep, spread, freedom) for point in points]
    return Summary(
        sweep=sweep,
        points=points,
        savings=savings(sweep, points),
        failed=[o for o in outcomes if o.error is not None],
        missing=[o for o in outcomes if o.error is None and o.result is None],
    )


def pooled(groups: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """Standard deviation within groups, pooled, and its degrees of freedom."""
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups if len(group) > 1)
    return (math.sqrt(squares / freedom) if freedom else None), freedom


def savings(sweep: Sweep, points: Sequence[Point]) -> list[Saving]:
    """Samples saved against the baseline, of every series of a sweep over the share of the data.

    Between two shares what is measured is taken to grow linearly with the logarithm of the samples.
    """
    shares = [name for name in sweep.axes if any(SHARE in changes for changes in sweep.axis(name).values())]
    if len(shares) != 1 or not sweep.baseline:
        return []
    series: dict[str, list[Point]] = {}
    for point in points:
        series.setdefault(_series(point.setting, shares[0]), []).append(point)
    for members in series.values():
        members.sort(key=lambda point: point.samples)
    wanted = {axis: str(label) for axis, label in sweep.baseline.items() if axis != shares[0]}
    baseline = next(
        (name for name, ps in series.items() if all(ps[0].setting.labels[a] == label for a, label in wanted.items())),
        None,
    )
    if baseline is None:
        return []
    found = []
    for measure, read in MEASURES.items():
        curves = {
            name: [(point.samples, value) for point in members if (value := read(point)) is not None]
            for name, members in series.items()
        }
        if not curves[baseline]:
            continue
        all_samples, target = curves[baseline][-1]
        for name, curve in curves.items():
            if name == baseline or not curve:
                continue
            samples, bound = samples_for(target, curve)
            found.append(
                Saving(
                    measure=measure,
                    series=name,
                    baseline=baseline,
                    target=target,
                    baseline_samples=all_samples,
                    samples=samples,
                    bound=bound,
                )
            )
    return found


def samples_for(target: float, curve: Sequence[tuple[float, float]]) -> tuple[float | None, bool]:
    """Samples at which a curve of (samples, score) first reaches a score, and whether its first point does already."""
    if curve[0][1] >= target:
        return curve[0][0], True
    for (few, low), (many, high) in pairwise(curve):
        if high >= target:
            share = (target - low) / (high - low)
            return math.exp(math.log(few) + share * (math.log(many) - math.log(few))), False
    return None, False


MEASURES: dict[str, Callable[[Point], float | None]] = {
    "score": lambda point: point.right.value,
    "told": lambda point: None if point.told is None else point.told.value,
}


def _series(setting: Setting, share: str) -> str:
    return ", ".join(label for axis, label in setting.labels.items() if axis != share) or "base"


def _score(result: Result) -> float:
    return result.mean("right") or 0.0


def _point(members: Sequence[Outcome]) -> Point | None:
    """One setting, None if no trial of it has a result."""
    results = [(outcome.seed, outcome.result) for outcome in members if outcome.result is not None]
    if not results:
        return None

    def mean(control: str) -> float | None:
        values = [value for _, result in results if (value := result.mean(control)) is not None]
        return statistics.fmean(values) if len(values) == len(results) else None

    found = [result for _, result in results]
    told = [value for result in found if (value := result.told) is not None]
    return Point(
        setting=members[0].setting,
        seeds=[seed for seed, _ in results],
        right=Mean.of([_score(result) for result in found]),
        none=mean("none"),
        shuffled=mean("shuffled"),
        ceiling=mean("ceiling"),
        tasks={task: statistics.fmean([r.tasks[task].right for r in found]) for task in found[0].tasks},
        # A mean of logarithms: perplexities are ratios.
        perplexity=math.exp(statistics.fmean([math.log(r.perplexity) for r in found])),
        told=Mean.of(told) if len(told) == len(found) else None,
        samples=statistics.fmean([r.samples for r in found]),
        training_tokens=statistics.fmean([r.training_tokens for r in found]),
        tokens_per_medium=statistics.fmean([statistics.fmean(r.tokens_per_medium.values()) for r in found]),
        seconds=statistics.fmean([r.seconds for r in found]),
    )


def _compared(point: Point, points: Sequence[Point], sweep: Sweep, spread: float | None, freedom: int) -> Point:
    """The point with its difference from the baseline that has its own labels on the other axes."""
    if not sweep.baseline:
        return point
    wanted = {**point.setting.labels, **{axis: str(label) for axis, label in sweep.baseline.items()}}
    other = next((p for p in points if p.setting.labels == wanted), None)
    if other is None or other.setting.labels == point.setting.labels:
        return point
    margin = None
    if spread is not None:
        from scipy.stats import t

        width = math.sqrt(1 / len(point.seeds) + 1 / len(other.seeds))
        margin = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * spread * width
    return replace(point, difference=Difference(value=point.right.value - other.right.value, margin=margin))
