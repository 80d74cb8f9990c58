"""What sweeps found, to be read and to be committed: `report.md`, `scores.png` and `results.json`."""

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from training.ablation.plot import draw_scores
from training.ablation.summary import Mean, Point, Saving, Summary
from training.ablation.trial import write_json
from training.evaluation.report import header, line

REPORT, PLOT, RESULTS = "report.md", "scores.png", "results.json"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Where and how the trials ran."""

    command: str
    corpus: str
    jobs: int
    threads: int
    device: str
    cores: int
    memory: int
    """Bytes."""
    versions: dict[str, str]
    date: str

    @classmethod
    def here(cls, *, command: str, corpus: str, jobs: int, threads: int) -> "Facts":
        """On this machine, now."""
        import psutil
        import torch

        cuda = torch.cuda.is_available()
        return cls(
            command=command,
            corpus=corpus,
            jobs=jobs,
            threads=threads,
            device=torch.cuda.get_device_name() if cuda else _processor(),
            cores=os.cpu_count() or 1,
            memory=psutil.virtual_memory().total,
            versions={name: version(name) for name in ("torch", "transformers")},
            date=f"{datetime.now(UTC):%Y-%m-%d}",
        )


def write_report(folder: Path, summaries: Sequence[Summary], facts: Facts) -> Path:
    """Write the three files into `folder` and return the report's path."""
    draw_scores(summaries, folder / PLOT)
    write_json(folder / RESULTS, {"facts": asdict(facts), "sweeps": [_sweep_values(s) for s in summaries]})
    path = folder / REPORT
    path.write_text(markdown(summaries, facts), encoding="utf-8")
    return path


def markdown(summaries: Sequence[Summary], facts: Facts) -> str:
    """The report."""
    hours = sum(point.seconds * len(point.seeds) for point in _distinct(summaries)) / 3600
    versions = ", ".join(f"{name} {number}" for name, number in facts.versions.items())
    trials = sum(len(point.seeds) for point in _distinct(summaries))
    parts = [
        "# Ablations",
        "",
        f"    {facts.command}",
        "",
        f"{trials} trials, {hours:.1f} hours of work, {facts.jobs} at a time with {facts.threads} "
        f"thread{'s' if facts.threads > 1 else ''} each, on {facts.device} ({facts.cores} cores, "
        f"{facts.memory / 2**30:.0f} GiB), {versions}, {facts.date}.",
        "",
        "Scores are exact answers in percent, the mean over the tasks, then mean ± standard error over the seeds. "
        "*None* and *shuffled* are the same questions without their medium and with another sample's. The *ceiling* is "
        "a linear probe on the same frozen features, fitted on the samples that the setting was trained on. "
        "A difference has its 95 % interval by Student's t with the spread between seeds that all settings of the "
        "sweep have in common; one that leaves out zero is bold. *Told* is what the medium tells, in nats per token: "
        "how much less surprising the reference answers are with it than with another sample's; unlike the score it "
        "does not ask whether the model has learned the form of the answer.",
        "",
    ]
    if any(summary.points for summary in summaries):
        parts += [f"![Score against cost in tokens, one panel per sweep]({PLOT})", ""]
    for summary in summaries:
        parts += _section(summary)
    return "\n".join(parts).rstrip("\n") + "\n"


def _section(summary: Summary) -> list[str]:
    sweep = summary.sweep
    lines = [f"## {sweep.question or sweep.name}", ""]
    if summary.points:
        axes = list(sweep.axes)
        names = [*axes, "score", "none", "shuffled", "ceiling", "difference", "told", "perplexity"]
        lines += header([*names, "samples", "training tokens", "tokens per medium", "minutes", "seeds"])
        lines += [line(_cells(point, axes)) for point in summary.points]
        lines += ["", *_task_table(summary, axes), ""]
    lines += [f"* {_saving(saving)}" for saving in summary.savings]
    lines += [""] if summary.savings else []
    for outcome in summary.failed:
        error = str((outcome.error or {}).get("error", "")).replace("\n", " ")
        lines.append(f"* failed: {outcome.setting.name}, seed {outcome.seed}: {error}")
    lines += _missing(summary)
    return lines + ([""] if summary.failed or summary.missing else [])


def _missing(summary: Summary) -> list[str]:
    """What has not been run, by seed."""
    settings = math.prod(len(summary.sweep.axis(name)) for name in summary.sweep.axes)
    seeds: dict[int, list[str]] = {}
    for outcome in summary.missing:
        seeds.setdefault(outcome.seed, []).append(outcome.setting.name)
    return [
        f"* not run: seed {seed} of {'all settings' if len(names) == settings else '; '.join(names)}"
        for seed, names in sorted(seeds.items())
    ]


def _cells(point: Point, axes: Sequence[str]) -> list[str]:
    difference = ""
    if point.difference is not None:
        margin = point.difference.margin
        difference = f"{100 * point.difference.value:+.1f}" + ("" if margin is None else f" ± {100 * margin:.1f}")
        difference = f"**{difference}**" if point.difference.clear else difference
    return [
        *(point.setting.labels[axis] for axis in axes),
        _mean(point.right),
        *(_percent(value) for value in (point.none, point.shuffled, point.ceiling)),
        difference,
        "" if point.told is None else _mean(point.told, 1, 2),
        f"{point.perplexity:.2f}",
        f"{point.samples:,.0f}",
        f"{point.training_tokens:,.0f}",
        f"{point.tokens_per_medium:g}",
        f"{point.seconds / 60:.1f}",
        str(len(point.seeds)),
    ]


def _task_table(summary: Summary, axes: Sequence[str]) -> list[str]:
    tasks = list(summary.points[0].tasks)
    lines = header([*axes, *tasks])
    for point in summary.points:
        labels = [point.setting.labels[axis] for axis in axes]
        lines.append(line([*labels, *(_percent(point.tasks.get(task)) for task in tasks)]))
    return lines


def _saving(saving: Saving) -> str:
    told = saving.measure == "told"
    reached = f"is told {saving.target:.2f} nats per token" if told else f"scores {100 * saving.target:.1f} %"
    start = f"{saving.baseline} {reached} with {saving.baseline_samples:,.0f} samples; "
    if saving.samples is None:
        return start + f"{saving.series} does not reach that"
    most = "at most " if saving.bound else "about "
    least = "at least " if saving.bound else ""
    return start + (
        f"{saving.series} needs {most}{saving.samples:,.0f} for that, {least}{saving.ratio:.1f} times fewer"
    )


def _sweep_values(summary: Summary) -> dict[str, Any]:
    """A sweep's results without anything about this machine's folders."""
    sweep = summary.sweep
    return {
        "name": sweep.name,
        "question": sweep.question,
        "points": [_point_values(point) for point in summary.points],
        "savings": [{**asdict(saving), "ratio": saving.ratio} for saving in summary.savings],
        "failed": [
            {"labels": o.setting.labels, "seed": o.seed, "error": (o.error or {}).get("error")} for o in summary.failed
        ],
        "missing": [{"labels": o.setting.labels, "seed": o.seed} for o in summary.missing],
    }


def _point_values(point: Point) -> dict[str, Any]:
    values = {name: getattr(point, name) for name in point.__dataclass_fields__ if name != "setting"}
    values["right"] = asdict(point.right)
    values["told"] = None if point.told is None else asdict(point.told)
    values["difference"] = None if point.difference is None else asdict(point.difference)
    return {"labels": point.setting.labels, **values}


def _distinct(summaries: Sequence[Summary]) -> list[Point]:
    """Every setting once, though several sweeps may share it."""
    found: dict[str, Point] = {}
    for summary in summaries:
        for point in summary.points:
            found[point.setting.identity("")] = point
    return list(found.values())


def _mean(mean: Mean, scale: float = 100, digits: int = 1) -> str:
    error = "" if mean.error is None else f" ± {scale * mean.error:.{digits}f}"
    return f"{scale * mean.value:.{digits}f}{error}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _processor() -> str:
    """The processor's name, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [text.partition(":")[2].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else platform.machine()
