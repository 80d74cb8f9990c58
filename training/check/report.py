"""What a check says: counts per file, as tables for people and as JSON for programs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from training.problems import Kind, ProblemLog


@dataclass
class Spread:
    """Smallest, largest and mean of numbers, without keeping them."""

    count: int = 0
    total: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float) -> None:
        """Count one number."""
        self.least = value if not self.count else min(self.least, value)
        self.most = value if not self.count else max(self.most, value)
        self.count += 1
        self.total += value

    @property
    def mean(self) -> float:
        """0 where there is nothing."""
        return self.total / self.count if self.count else 0.0

    def show(self, digits: int = 0) -> str:
        """`least-mean-most`."""
        if not self.count:
            return "-"
        return "-".join(f"{value:.{digits}f}" for value in (self.least, self.mean, self.most))


@dataclass
class MediaReport:
    """Media of one modality in one file of samples."""

    used: int = 0
    """Times that a sample shows or plays one."""
    files: int = 0
    """Different files."""
    same_content: int = 0
    """Files with the bytes of another one that was counted before."""
    unreadable: int = 0
    features: int = 0
    """Rows of files of features."""
    width: Spread = field(default_factory=Spread)
    height: Spread = field(default_factory=Spread)
    seconds: Spread = field(default_factory=Spread)
    """Of each file once."""


@dataclass
class SourceReport:
    """One file of samples."""

    name: str
    path: str
    lines: int = 0
    """Lines that are not blank."""
    samples: int = 0
    """Lines that are samples."""
    turns: int = 0
    """Questions with their answers."""
    questions: Spread = field(default_factory=Spread)
    """Characters of text in each user turn."""
    answers: Spread = field(default_factory=Spread)
    """Characters in each assistant turn."""
    tokens: Spread = field(default_factory=Spread)
    """Of each sample, media included; nothing without a recipe."""
    limit: int | None = None
    """Most tokens that fit, by the recipe."""
    media: dict[str, MediaReport] = field(default_factory=dict)
    """Per modality."""
    problems: Counter[Kind] = field(default_factory=Counter)


@dataclass
class Report:
    """A whole check."""

    sources: list[SourceReport]
    problems: ProblemLog
    allowed: frozenset[Kind] = frozenset()
    """Kinds of problems that do not make the check fail."""

    @property
    def failed(self) -> bool:
        """Whether there is a problem that is not allowed."""
        return any(kind not in self.allowed for kind in self.problems.kinds)

    def as_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "failed": self.failed,
            "sources": [_plain(source) for source in self.sources],
            "problems": {
                "total": self.problems.total,
                "kinds": {str(kind): count for kind, count in self.problems.kinds.items()},
                "first": [
                    {"where": problem.where, "kind": str(problem.kind), "message": problem.message}
                    for problem in self.problems.first
                ],
            },
        }

    def lines(self) -> Iterator[str]:
        """Tables of samples, media and problems, then the first problems."""
        counted = any(source.tokens.count for source in self.sources)
        yield from table(
            ["source", "samples", "turns", "question characters", "answer characters", *["tokens", "limit"] * counted],
            [
                [
                    source.name,
                    source.samples,
                    source.turns,
                    source.questions.show(),
                    source.answers.show(),
                    *[source.tokens.show(), source.limit or "-"] * counted,
                ]
                for source in self.sources
            ],
        )
        media = [(source, name, facts) for source in self.sources for name, facts in sorted(source.media.items())]
        if media:
            yield ""
            yield from table(
                ["source", "media", "used", "files", "same bytes", "unreadable", "width", "height", "seconds", "hours"],
                [
                    [
                        source.name,
                        name,
                        facts.used,
                        facts.files or f"{facts.features} rows",
                        facts.same_content,
                        facts.unreadable,
                        facts.width.show(),
                        facts.height.show(),
                        facts.seconds.show(1),
                        f"{facts.seconds.total / 3600:.2f}" if facts.seconds.count else "-",
                    ]
                    for source, name, facts in media
                ],
            )
        yield ""
        if not self.problems.total:
            yield "no problems"
            return
        kinds = [(source, kind, count) for source in self.sources for kind, count in source.problems.most_common()]
        yield from table(
            ["source", "problem", "count", ""],
            [[s.name, kind, count, "allowed" if kind in self.allowed else ""] for s, kind, count in kinds],
        )
        yield ""
        for problem in self.problems.first:
            yield str(problem)
        if rest := self.problems.total - len(self.problems.first):
            yield f"... and {rest} more; --shown {self.problems.total} lists them all"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Aligned columns, the first to the left, numbers to the right."""
    cells = [list(header), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[index]) for row in cells) for index in range(len(header))]
    left = [
        all(not row[index][:1].isdigit() and row[index] != "-" for row in cells[1:]) for index in range(len(header))
    ]
    for row in cells:
        parts = [
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ]
        yield "  ".join(parts).rstrip()


def display_name(path: Path) -> str:
    """How a file of samples is called in tables: `scenes/train` for `corpus/scenes/train.jsonl`."""
    return f"{path.resolve().parent.name}/{path.stem}"


def _plain(value: Any) -> Any:
    """Reports as plain values, with means, which are no fields."""
    if isinstance(value, Spread):
        return {**vars(value), "mean": value.mean}
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return value
