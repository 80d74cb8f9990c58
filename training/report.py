"""Pictures and tables of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_loss(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the loss of every logged step, and its running mean, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    if not points:
        return
    steps, losses = zip(*points, strict=True)
    mean, smooth = losses[0], []
    for loss in losses:
        mean = 0.9 * mean + 0.1 * loss
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
