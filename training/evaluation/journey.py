"""The integral score of the AI Journey contest 2023, "Strong Intelligence".

    Integral = sum over kinds j of  w_j / N_j * sum over its samples i of  (METEOR_i + HM_i) / 2

A kind is the set of media in a sample; the more of them, the more it weighs. Source: METRICS.md of the contest's
repository ai-forever/fbc3_aij2023; METEOR there is the harmonic mean 10PR/(R+9P) without a penalty for order. The
contest never published its hidden metric HM beyond "computed from perplexity, 0 worst, 1 best"; here it is
1 / perplexity, the geometric mean of the probabilities of the reference answer's tokens. Integrals are therefore
comparable with each other, not with the contest's table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.evaluation.statistics import Estimate, bootstrap

WEIGHTS: dict[frozenset[str], float] = {
    frozenset(): 0.1,
    frozenset({"image"}): 0.2,
    frozenset({"audio"}): 0.3,
    frozenset({"image", "audio"}): 0.4,
}


@dataclass(frozen=True, kw_only=True)
class Integral:
    """The integral over the kinds that a corpus has."""

    estimate: Estimate
    """Divided by `coverage`, so that it stays within 0..1 whatever kinds there are."""
    coverage: float
    """Sum of the weights of those kinds; at 1 the estimate is the contest's formula."""
    kinds: dict[str, Estimate]
    """Mean of (METEOR + HM) / 2 of each kind."""


def integral(values: Mapping[frozenset[str], Sequence[float]]) -> Integral | None:
    """The integral from (METEOR + HM) / 2 of each sample, by its kind; None without any.

    Kinds the contest does not know (a third modality) are left out.
    """
    groups = {kind: np.asarray(found, float) for kind, found in values.items() if kind in WEIGHTS and len(found)}
    if not groups:
        return None
    coverage = sum(WEIGHTS[kind] for kind in groups)
    weights = [WEIGHTS[kind] / coverage for kind in groups]

    def weighted(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sum([w * s.mean(axis=axis) for w, s in zip(weights, samples, strict=True)], axis=0)

    return Integral(
        estimate=bootstrap(list(groups.values()), weighted),
        coverage=coverage,
        kinds={kind_name(kind): bootstrap([found]) for kind, found in groups.items()},
    )


def kind_name(kind: frozenset[str]) -> str:
    """Such as `text`, or `audio+image+text`."""
    return "+".join([*sorted(kind), "text"])
