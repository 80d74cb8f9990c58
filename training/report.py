"""The loss curve of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Share of a new value in the running mean.
SMOOTHING = 0.1


def loss_points(log: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Step and loss of every entry that has them; the steps of a stage go on after those of the one before."""
    points: list[tuple[int, float]] = []
    before = 0
    stage = None
    for entry in log:
        if "loss" not in entry:
            continue
        if entry.get("stage") != stage:
            stage, before = entry.get("stage"), points[-1][0] if points else 0
        points.append((before + int(entry["step"]), float(entry["loss"])))
    return points


def draw_loss(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the logged loss and its running mean as a PNG; nothing is drawn if no loss was logged."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = loss_points(log)
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    mean, smooth = losses[0], []
    for loss in losses:
        mean += SMOOTHING * (loss - mean)
        smooth.append(mean)
    figure, axes = pyplot.subplots(figsize=(7, 4), dpi=120)
    axes.plot(steps, losses, color="0.8", linewidth=1, label="mean of 10 steps")
    axes.plot(steps, smooth, color="tab:blue", linewidth=2, label="running mean")
    axes.set(xlabel="step", ylabel="loss (nats per answer token)", yscale="log")
    axes.grid(visible=True, which="both", color="0.92")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)
