"""POPE: does the model see an object that is not there? Yes/no answers and the five numbers of the benchmark.

Source: Li et al. 2023 (arXiv 2305.10355), section 5, and the rule of its released scorer for finding the answer in a
sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.evaluation.statistics import Estimate, bootstrap

NEGATIVE = ("No", "not", "no")


def says_yes(answer: str) -> bool:
    """Whether an answer counts as yes: its first sentence holds none of the words No, not and no."""
    first = answer.split(".")[0].replace(",", "")
    return not any(word in NEGATIVE for word in first.split(" "))


def wants_yes(reference: str) -> bool | None:
    """What a reference asks for; None where it is neither yes nor no."""
    return {"yes": True, "no": False}.get(reference.strip().rstrip(".").lower())


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The confusion matrix; positive is yes."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int

    @classmethod
    def of(cls, said: Sequence[bool], wanted: Sequence[bool]) -> "Counts":
        """Count answers `said` against references `wanted`, both True for yes."""
        pairs = list(zip(said, wanted, strict=True))
        return cls(
            true_positive=pairs.count((True, True)),
            false_positive=pairs.count((True, False)),
            true_negative=pairs.count((False, False)),
            false_negative=pairs.count((False, True)),
        )

    @property
    def total(self) -> int:
        """Questions."""
        return self.true_positive + self.false_positive + self.true_negative + self.false_negative

    @property
    def said_yes(self) -> int:
        """Answers that are yes; as a share of `total` this is the yes ratio."""
        return self.true_positive + self.false_positive

    @property
    def right(self) -> int:
        """Right answers."""
        return self.true_positive + self.true_negative


def f1(said: Sequence[bool], wanted: Sequence[bool]) -> Estimate:
    """Harmonic mean of precision and recall, 0 without a true positive; its interval from a paired bootstrap."""

    def statistic(answers: Any, references: Any, axis: int = -1) -> Any:
        positive = (answers * references).sum(axis=axis)
        return 2 * positive / np.maximum(1, answers.sum(axis=axis) + references.sum(axis=axis))

    return bootstrap([np.asarray(said, float), np.asarray(wanted, float)], statistic, paired=True)
