"""What an evaluation writes: the overview that a model card shows, and every metric with its interval.

scores.json   list of `Score`, one per task: accuracy with the right medium, none and a shuffled one, and the ceiling
scores.md     the same as a table, then every metric per task, group, language and over all
metrics.json  {"model", ..., "rows": [{"scope", "name", "samples", "failed", "ceiling", "chance", "variants":
              {"right" | "none" | "shuffled": {metric: {"value", "low", "high"}}}}], "integral": {...}}
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from training.evaluation.journey import Integral, integral
from training.evaluation.scoring import Record, estimates
from training.evaluation.statistics import Estimate, proportion
from training.evaluation.variants import NONE, RIGHT, SHUFFLED

SCORES, TABLE, METRICS = "scores.json", "scores.md", "metrics.json"
SCOPES = ("task", "group", "language", "all")
# Metric -> heading, and what its value is multiplied with to be shown.
SHOWN: dict[str, tuple[str, float]] = {
    "exact": ("exact", 100),
    "normalised": ("normalised", 100),
    "meteor": ("METEOR", 100),
    "perplexity": ("perplexity", 1),
    "vqa": ("VQA accuracy", 100),
    "mmmu": ("MMMU accuracy", 100),
    "mmmu_drawn": ("MMMU drawn by lot", 100),
    "pope_accuracy": ("POPE accuracy", 100),
    "pope_precision": ("POPE precision", 100),
    "pope_recall": ("POPE recall", 100),
    "pope_f1": ("POPE F1", 100),
    "pope_yes_ratio": ("POPE yes ratio", 100),
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracies of one task, 0..1; None where a task has no such control."""

    task: str
    samples: int
    right: float
    none: float | None
    shuffled: float | None
    ceiling: float | None
    chance: float | None
    """Share of the most frequent label in the test set."""

    @property
    def ratio(self) -> float | None:
        """Accuracy as a share of the ceiling."""
        return self.right / self.ceiling if self.ceiling else None

    @property
    def interval(self) -> float:
        """Half of the 95 % interval of `right` (Wilson)."""
        estimate = proportion(round(self.right * self.samples), self.samples)
        return (estimate.high - estimate.low) / 2


@dataclass(frozen=True, kw_only=True)
class Row:
    """All metrics of one set of samples."""

    scope: str
    """One of `SCOPES`."""
    name: str
    samples: int
    failed: int
    """Answers the server refused, over all controls; they count as wrong."""
    variants: dict[str, dict[str, Estimate]]
    ceiling: float | None = None
    chance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything an evaluation found."""

    facts: dict[str, Any]
    """What was evaluated, and how."""
    rows: list[Row]
    integral: Integral | None = None
    scores: list[Score] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        facts: Mapping[str, Any],
        ceilings: Mapping[str, float],
        chances: Mapping[str, float | None],
    ) -> "Results":
        """Summarise records; `ceilings` and `chances` are by task."""
        rows = [
            Row(
                scope=scope,
                name=name,
                samples=sum(r.variant == RIGHT for r in members),
                failed=sum(bool(r.failures) for r in members),
                variants={v: estimates(part) for v, part in by_variant(members).items()},
                ceiling=ceilings.get(name) if scope == "task" else None,
                chance=chances.get(name) if scope == "task" else None,
            )
            for scope, name, members in _scopes(records)
        ]
        kinds: dict[frozenset[str], list[float]] = {}
        right = [r for r in records if r.variant == RIGHT]
        for r in right:
            if r.harmonic_mean is not None and r.surprise is not None and r.tokens:
                certainty = math.exp(-r.surprise / r.tokens)
                kinds.setdefault(frozenset(r.kind), []).append((r.harmonic_mean + certainty) / 2)
        # Half an integral, over the samples that happen to have a perplexity, would mislead.
        complete = sum(map(len, kinds.values())) == len(right)
        scores = [_score(row) for row in rows if row.scope == "task"]
        return cls(facts=dict(facts), rows=rows, integral=integral(kinds) if complete else None, scores=scores)

    def write(self, folder: Path) -> str:
        """Write the three files into `folder`, made if missing, and return the table."""
        folder.mkdir(parents=True, exist_ok=True)
        values = [{**asdict(score), "ratio": score.ratio, "interval": score.interval} for score in self.scores]
        (folder / SCORES).write_text(json.dumps(values, indent=1) + "\n")
        everything = {
            **self.facts,
            "rows": [asdict(row) for row in self.rows],
            "integral": asdict(self.integral) if self.integral else None,
        }
        (folder / METRICS).write_text(json.dumps(everything, indent=1) + "\n")
        table = self.table()
        (folder / TABLE).write_text(table)
        return table

    def table(self) -> str:
        """The overview, then every metric."""
        return "\n".join([markdown(self.scores), *self._sections()])

    def _sections(self) -> Iterator[str]:
        for metric, (heading, scale) in SHOWN.items():
            rows = [row for row in self.rows if metric in row.variants[RIGHT]]
            # Exact accuracy per task stands in the overview.
            rows = [row for row in rows if metric != "exact" or row.scope != "task"]
            if rows:
                yield _metric_table(metric, heading, scale, rows)
        if self.integral is not None:
            yield _integral_text(self.integral)
        yield "\n".join(f"- {name}: {value}" for name, value in self.facts.items()) + "\n"


def markdown(scores: Sequence[Score]) -> str:
    """A table of scores, percent."""
    names = ("task", "samples", "right medium", "no medium", "shuffled", "ceiling", "right / ceiling", "largest class")
    lines = header(names)
    for s in scores:
        cells = [s.task, str(s.samples), f"{100 * s.right:.1f} ± {100 * s.interval:.1f}"]
        cells += [_percent(value) for value in (s.none, s.shuffled, s.ceiling)]
        cells += ["" if s.ratio is None else f"{s.ratio:.2f}", _percent(s.chance)]
        lines.append(line(cells))
    return "\n".join(lines) + "\n"


def by_variant(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by control, in the order of the controls; those without any are left out."""
    found = {variant: [r for r in records if r.variant == variant] for variant in (RIGHT, NONE, SHUFFLED)}
    return {variant: members for variant, members in found.items() if members}


def _scopes(records: Sequence[Record]) -> Iterator[tuple[str, str, list[Record]]]:
    """Scope, name and records of every row. A group is what stands before the first `/` of a task."""
    keys = {
        "task": lambda r: r.task,
        "group": lambda r: r.task.split("/")[0],
        "language": lambda r: r.language,
        "all": lambda r: "all",
    }
    for scope in SCOPES:
        members: dict[str, list[Record]] = {}
        for r in records:
            members.setdefault(keys[scope](r), []).append(r)
        for name in sorted(members):
            yield scope, name, members[name]


def _score(row: Row) -> Score:
    found = {v: row.variants[v]["exact"].value if v in row.variants else None for v in (NONE, SHUFFLED)}
    return Score(
        task=row.name,
        samples=row.samples,
        right=row.variants[RIGHT]["exact"].value,
        none=found[NONE],
        shuffled=found[SHUFFLED],
        ceiling=row.ceiling,
        chance=row.chance,
    )


def _metric_table(metric: str, heading: str, scale: float, rows: Sequence[Row]) -> str:
    failures = any(row.failed for row in rows)
    names = ["", "samples", f"{heading}, right medium", "no medium", "shuffled", *(["failed"] if failures else [])]
    lines = [f"## {heading[0].upper()}{heading[1:]}", "", *header(names)]
    for row in rows:
        name = row.name if row.scope in ("task", "all") else f"{row.scope} {row.name}"
        values = [row.variants.get(variant, {}).get(metric) for variant in (RIGHT, NONE, SHUFFLED)]
        cells = [name, str(row.samples), *(_interval(value, scale) for value in values)]
        lines.append(line(cells + ([str(row.failed)] if failures else [])))
    return "\n".join(lines) + "\n"


def _integral_text(found: Integral) -> str:
    lines = ["## AI Journey integral", "", *header(["kind", "(METEOR + 1 / perplexity) / 2"])]
    lines += [line([name, _interval(value, 100)]) for name, value in found.kinds.items()]
    lines.append(line([f"integral (weights present: {found.coverage:.1f})", _interval(found.estimate, 100)]))
    return "\n".join(lines) + "\n"


def header(names: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [line(names), "|---" * len(names) + "|"]


def line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    # A task is a name from a file: it must not end its cell.
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _interval(value: Estimate | None, scale: float) -> str:
    if value is None:
        return ""
    digits = 1 if scale == 100 else 2
    return f"{scale * value.value:.{digits}f} [{scale * value.low:.{digits}f}, {scale * value.high:.{digits}f}]"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"
