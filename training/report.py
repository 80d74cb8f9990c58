"""What remains of a run to be read: `report.md` and `curves.png`."""

import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import psutil
import torch
import yaml
from torch import nn

from training.recipe import Recipe
from training.stage import METRICS, Stage

REPORT, CURVES = "report.md", "curves.png"
# Least share of a new value in the running mean.
SMOOTHING = 0.1
LIBRARIES = ("torch", "transformers", "accelerate", "peft", "safetensors", "numpy")
# Seconds between two looks at the memory.
LOOK = 0.5


@dataclass(frozen=True)
class StageFacts:
    """What a stage did."""

    name: str
    steps: int
    seconds: float
    samples: int
    tokens: int
    """Without padding."""
    trained: int
    """Parameters."""
    sources: dict[str, int]
    """Samples per epoch, by source."""
    loss: float | None
    """The last one that was logged."""
    validation: dict[str, float]
    """The scores of the best validation by its metric; none without."""

    @classmethod
    def of(
        cls, stage: Stage, log: Sequence[Mapping[str, Any]], sources: Mapping[str, int], model: nn.Module
    ) -> "StageFacts":
        """From the stage's log; the model's parameters that need a gradient are those it trained."""
        losses = [entry for entry in log if "loss" in entry]
        last: Mapping[str, Any] = losses[-1] if losses else {}
        return cls(
            name=stage.name,
            steps=max((int(entry["step"]) for entry in log), default=0),
            seconds=float(last.get("seconds", 0.0)),
            samples=int(last.get("samples", 0)),
            tokens=int(last.get("tokens", 0)),
            trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
            sources=dict(sources),
            loss=float(last["loss"]) if last else None,
            validation=best_validation(stage, log),
        )


@dataclass(frozen=True)
class MachineFacts:
    """Where a run was last started, and what it used since."""

    device: str
    hours: float
    """Since the last start, from reading the corpus on."""
    peak_memory: int
    """Bytes, of the process and its children, seen every half second."""
    peak_device_memory: int
    """Bytes on the accelerator; 0 without."""


class Machine:
    """Watches the memory while the block runs that it is the context of."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._peak = 0
        self._process = psutil.Process()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="memory")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def now(self) -> MachineFacts:
        """What was used until now."""
        self._look()
        cuda = torch.cuda.is_available()
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}" if cuda else cpu_name()
        memory = torch.cuda.max_memory_allocated() if cuda else 0
        return MachineFacts(device, (time.monotonic() - self._begun) / 3600, self._peak, memory)

    def _watch(self) -> None:
        while not self._ended.wait(LOOK):
            self._look()

    def _look(self) -> None:
        self._peak = max(self._peak, resident([self._process, *self._process.children(recursive=True)]))


def resident(processes: Sequence[psutil.Process]) -> int:
    """Bytes of memory that processes hold, files that they have mapped among it; parents come before their children.

    Pages that several of them share count for each, but a child that has not yet started its program is left out: its
    memory is its parent's.
    """
    total = 0
    sizes: dict[int, int] = {}
    for process in processes:
        try:
            memory, parent = process.memory_info(), process.ppid()
        except psutil.Error:
            # It has ended since it was listed.
            continue
        sizes[process.pid] = memory.vms
        if sizes.get(parent) != memory.vms:
            total += memory.rss
    return total


def cpu_name() -> str:
    """Such as `2 cores, Intel(R) Xeon(R)`."""
    found = [""]
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")] or found
    return f"{len(os.sched_getaffinity(0))} cores, {found[0] or platform.machine()}"


@dataclass(frozen=True)
class Facts:
    """Everything a report tells beside the recipe and the curves."""

    command: str
    stages: list[StageFacts]
    media: dict[str, int]
    """Different files, by modality."""
    problems: list[str]
    """What was left out, in lines for a person; empty if nothing was."""
    machine: MachineFacts


def best_validation(stage: Stage, log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The scores of the best validation in a log."""
    found = [entry for entry in log if "eval_loss" in entry]
    if stage.validation is None or not found:
        return {}
    metric = f"eval_{stage.validation.metric}"
    best = (max if METRICS[stage.validation.metric] else min)(found, key=lambda entry: entry[metric])
    scores = {name.removeprefix("eval_"): float(best[name]) for name in best if name.startswith("eval_")}
    return {"step": float(best["step"]), **scores}


def points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Step and value of every entry that has this value; the steps of a stage go on after those of the one before."""
    found: list[tuple[int, float]] = []
    before, last, stage = 0, 0, None
    for entry in log:
        if entry.get("stage") != stage:
            stage, before = entry.get("stage"), last
        last = before + int(entry["step"])
        if name in entry:
            found.append((last, float(entry[name])))
    return found


def smoothed(values: Sequence[float]) -> list[float]:
    """The running mean, over about a tenth of the curve: one that reached further back would show where it began."""
    share = max(SMOOTHING, min(1.0, 10 / len(values)))
    mean, means = values[0], []
    for value in values:
        mean += share * (value - mean)
        means.append(mean)
    return means


def draw_curves(log: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw loss, learning rate and, where there are any, validations as a PNG; nothing if no loss was logged."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    losses = points(log, "loss")
    if not losses:
        return
    validations = points(log, "eval_loss")
    accuracies = points(log, "eval_accuracy")
    rows = 3 if accuracies else 2
    figure, plots = pyplot.subplots(
        rows, sharex=True, figsize=(7, 2 + 2 * rows), dpi=120, height_ratios=[2, 1, 1][:rows]
    )
    steps, values = zip(*losses, strict=True)
    plots[0].plot(steps, values, color="0.8", linewidth=1, label="training, as logged")
    plots[0].plot(steps, smoothed(values), color="tab:blue", linewidth=2, label="training, running mean")
    if validations:
        plots[0].plot(*zip(*validations, strict=True), color="tab:orange", marker="o", label="validation")
    plots[0].set(ylabel="loss (nats per answer token)", yscale="log")
    plots[0].legend()
    rates = points(log, "learning_rate")
    if rates:
        plots[1].plot(*zip(*rates, strict=True), color="tab:green")
    plots[1].set(ylabel="learning rate")
    if accuracies:
        plots[2].plot(*zip(*accuracies, strict=True), color="tab:orange", marker="o")
        plots[2].set(ylabel="accuracy", ylim=(0, 1))
    plots[-1].set(xlabel="step")
    for axes in plots:
        axes.grid(visible=True, which="both", color="0.92")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def write_report(output: Path, recipe: Recipe, facts: Facts, log: Sequence[Mapping[str, Any]]) -> None:
    """Write `report.md` and `curves.png` into a run's output."""
    draw_curves(log, output / CURVES)
    (output / REPORT).write_text("\n".join(report_lines(output, recipe, facts)) + "\n", encoding="utf-8")


def report_lines(output: Path, recipe: Recipe, facts: Facts) -> list[str]:
    """The lines of the report."""
    lines = ["# Training report", ""]
    lines += ["    " + facts.command, ""] if facts.command else []
    lines += [f"![loss and learning rate by step]({CURVES})", ""] if (output / CURVES).is_file() else []
    lines += [
        "## Stages",
        "",
        "| stage | parameters trained | steps | samples | tokens | hours | samples/s | last loss |",
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for stage in facts.stages:
        speed = f"{stage.samples / stage.seconds:.1f}" if stage.seconds else ""
        cells = [stage.name, f"{stage.trained:,}", str(stage.steps), f"{stage.samples:,}", f"{stage.tokens:,}"]
        cells += [f"{stage.seconds / 3600:.2f}", speed, "" if stage.loss is None else f"{stage.loss:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "Samples and tokens are those seen, repetitions counted and padding not, up to the last entry of the log.",
    ]
    validated = [stage for stage in facts.stages if stage.validation]
    if validated:
        lines += [
            "",
            "## Validation",
            "",
            "| stage | best step | loss | perplexity | accuracy |",
            "|---|---|---|---|---|",
        ]
        for stage in validated:
            best = stage.validation
            scores = [f"{best['loss']:.4f}", f"{best['perplexity']:.3f}", f"{100 * best['accuracy']:.1f} %"]
            lines.append("| " + " | ".join([stage.name, f"{best['step']:.0f}", *scores]) + " |")
    lines += ["", "## Data", "", "| stage | source | samples per epoch |", "|---|---|---|"]
    lines += [f"| {stage.name} | {source} | {n:,} |" for stage in facts.stages for source, n in stage.sources.items()]
    lines += ["", "Different media: " + ", ".join(f"{n:,} {name}" for name, n in facts.media.items()) + "."]
    lines += ["", "## Left out", ""]
    lines += [f"- {problem}" for problem in facts.problems] or ["Nothing."]
    lines += ["", "## Machine", "", "| | |", "|---|---|"]
    hours = sum(stage.seconds for stage in facts.stages) / 3600
    gib = facts.machine.peak_memory / 2**30
    rows = {"device": facts.machine.device, "hours of training": f"{hours:.2f}"}
    rows |= {
        "hours since the last start, preparation included": f"{facts.machine.hours:.2f}",
        "peak memory": f"{gib:.2f} GiB",
    }
    if facts.machine.peak_device_memory:
        rows["peak memory of the accelerator"] = f"{facts.machine.peak_device_memory / 2**30:.2f} GiB"
    rows |= {"Python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    lines += [f"| {name} | {value} |" for name, value in rows.items()]
    values = yaml.safe_dump(asdict(recipe), sort_keys=False, allow_unicode=True, width=100)
    return [*lines, "", "## Recipe", "", "With every default written out.", "", "```yaml", values.rstrip(), "```"]
