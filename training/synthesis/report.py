"""What a run made and what it dropped, counted by kind of dialog and reason: as JSON, and as a table for people."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.synthesis.filters import REASONS


@dataclass(kw_only=True)
class KindCounts:
    """Counts of one kind of dialog."""

    planned: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Jobs without a dialog, by the reason of their last attempt."""
    asked_again: Counter[str] = field(default_factory=Counter)
    """Attempts that were rejected and followed by another one, by reason."""


@dataclass(kw_only=True)
class Report:
    """All counts of a run; planned = kept + dropped holds for every kind."""

    output: Path
    generator: str
    arguments: dict[str, Any]
    samples_read: int
    media_known: int
    media_used: int = 0
    reused: int = 0
    """Jobs whose outcome an earlier run had left."""
    kinds: dict[str, KindCounts] = field(default_factory=dict)
    languages: Counter[str] = field(default_factory=Counter)
    """Samples kept, by language."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Input that was of no use and dialogs that could not be planned, by reason."""

    @property
    def kept(self) -> int:
        """Samples in the file."""
        return sum(counts.kept for counts in self.kinds.values())

    @property
    def unanswered(self) -> int:
        """Jobs that the endpoint has not answered yet."""
        return sum(counts.dropped["no-answer"] for counts in self.kinds.values())

    def to_json(self) -> dict[str, Any]:
        """All counts as values that JSON can hold."""
        return {
            "generator": self.generator,
            "arguments": self.arguments,
            "samples_read": self.samples_read,
            "media_known": self.media_known,
            "media_used": self.media_used,
            "samples": self.kept,
            "languages": dict(sorted(self.languages.items())),
            "kinds": {
                name: {
                    "planned": counts.planned,
                    "kept": counts.kept,
                    "dropped": dict(sorted(counts.dropped.items())),
                    "asked_again": dict(sorted(counts.asked_again.items())),
                }
                for name, counts in self.kinds.items()
            },
            "skipped": dict(sorted(self.skipped.items())),
        }

    def __str__(self) -> str:
        lines = [f"{'kind':14} {'planned':>8} {'kept':>8} {'dropped':>8}"]
        for name, counts in self.kinds.items():
            lines.append(f"{name:14} {counts.planned:8d} {counts.kept:8d} {sum(counts.dropped.values()):8d}")
        lines += self._reasons("dropped because", [(counts.dropped) for counts in self.kinds.values()])
        lines += self._reasons("asked again because", [counts.asked_again for counts in self.kinds.values()])
        if self.skipped:
            lines += ["", f"{'not used':>8}"]
            lines += [f"{count:8d}  {why}" for why, count in sorted(self.skipped.items())]
        languages = ", ".join(f"{count} {language}" for language, count in sorted(self.languages.items()))
        lines += [
            "",
            f"= {self.output}: {self.kept} samples ({languages or 'none'}) over {self.media_used} of "
            f"{self.media_known} media, by {self.generator}; {self.reused} dialogs were there from an earlier run",
        ]
        return "\n".join(lines)

    @staticmethod
    def _reasons(title: str, counts: list[Counter[str]]) -> list[str]:
        total = sum(counts, Counter[str]())
        if not total:
            return []
        return ["", title, *(f"{total[reason]:8d}  {reason}: {REASONS[reason]}" for reason in REASONS if total[reason])]
