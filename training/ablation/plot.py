"""`scores.png`: one panel per sweep, score with error bars against cost in tokens."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.ablation.summary import Point, Summary
from training.ablation.sweep import SETTING, SHARE, TOKENS_PER_MEDIUM

COLUMNS = 2


def draw_scores(summaries: Sequence[Summary], path: Path) -> None:
    """Draw every sweep that has a result; nothing where none has."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [summary for summary in summaries if summary.points]
    if not drawn:
        return
    columns = min(COLUMNS, len(drawn))
    rows = -(-len(drawn) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(6.2 * columns, 4.2 * rows), dpi=110, squeeze=False)
    panels = list(grid.flat)
    for axes, summary in zip(panels, drawn, strict=False):
        (_draw_settings if summary.sweep.x == SETTING else _draw_curves)(axes, summary)
        axes.set_title(summary.sweep.question or summary.sweep.name, fontsize=10)
    for axes in panels[len(drawn) :]:
        axes.axis("off")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _draw_curves(axes: Any, summary: Summary) -> None:
    """One line per series, over tokens."""
    per_medium = summary.sweep.x == TOKENS_PER_MEDIUM
    for name, points in series(summary).items():
        cost = [point.tokens_per_medium if per_medium else point.training_tokens for point in points]
        scores = [100 * point.right.value for point in points]
        errors = [math.nan if point.right.error is None else 100 * point.right.error for point in points]
        axes.errorbar(cost, scores, errors, marker="o", markersize=4, capsize=3, label=name or None)
    _draw_ceiling(axes, summary.points, per_medium)
    axes.set_xscale("log", base=2 if per_medium else 10)
    if per_medium:
        ticks = sorted({point.tokens_per_medium for point in summary.points})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set(xlabel="soft tokens per medium" if per_medium else "training tokens", ylabel="exact answers, %")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, color="0.92")
    axes.legend(fontsize=8)


def _draw_ceiling(axes: Any, points: Sequence[Point], per_medium: bool) -> None:
    """Mean ceiling and the shuffled control by cost."""
    for label, style, read in (
        ("linear probe (ceiling)", "--", lambda p: p.ceiling),
        ("shuffled medium", ":", lambda p: p.shuffled),
    ):
        costs: dict[float, list[float]] = {}
        for point in points:
            if (value := read(point)) is not None:
                # Series differ a little in their tokens; what they share is their samples.
                costs.setdefault(point.tokens_per_medium if per_medium else point.samples, []).append(value)
        at = {
            cost: _mean([p.training_tokens for p in points if p.samples == cost]) if not per_medium else cost
            for cost in costs
        }
        if costs:
            order = sorted(costs)
            values = [100 * _mean(costs[cost]) for cost in order]
            axes.plot([at[cost] for cost in order], values, style, color="0.5", linewidth=1, label=label)


def _draw_settings(axes: Any, summary: Summary) -> None:
    """One bar per setting, with what it cost in training tokens."""
    points = summary.points[::-1]
    places = range(len(points))
    errors = [math.nan if point.right.error is None else 100 * point.right.error for point in points]
    axes.barh(places, [100 * p.right.value for p in points], xerr=errors, color="tab:blue", alpha=0.7, capsize=3)
    for control, mark in (("ceiling", "|"), ("shuffled", "x")):
        found = [(100 * v, i) for i, p in enumerate(points) if (v := getattr(p, control)) is not None]
        if found:
            label = "linear probe (ceiling)" if control == "ceiling" else "shuffled medium"
            axes.scatter(*zip(*found, strict=True), marker=mark, s=90, color="black", label=label, zorder=3)
    names = [
        f"{', '.join(p.setting.labels.values()) or 'base'}\n{_thousands(p.training_tokens)} tokens" for p in points
    ]
    axes.set_yticks(list(places), names, fontsize=8)
    axes.set(xlabel="exact answers, %")
    axes.set_xlim(left=0)
    axes.grid(visible=True, axis="x", color="0.92")
    axes.legend(fontsize=8)


def series(summary: Summary) -> dict[str, list[Point]]:
    """Points that differ only in the axis that the plot's cost comes from, by their other labels, cheapest first."""
    sweep = summary.sweep
    per_medium = sweep.x == TOKENS_PER_MEDIUM
    along = set()
    for name in sweep.axes:
        changes = [change for label in sweep.axis(name).values() for change in label]
        if all(path.endswith(".tokens") if per_medium else path == SHARE for path in changes):
            along.add(name)
    found: dict[str, list[Point]] = {}
    for point in summary.points:
        labels = point.setting.labels
        found.setdefault(", ".join(labels[name] for name in labels if name not in along), []).append(point)
    for members in found.values():
        members.sort(key=lambda point: point.tokens_per_medium if per_medium else point.training_tokens)
    return found


def _thousands(tokens: float) -> str:
    return f"{tokens / 1000:.0f}k" if tokens >= 1000 else f"{tokens:.0f}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
