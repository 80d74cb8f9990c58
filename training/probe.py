"""Linear probes on frozen features: the ceiling of every closed-set task, and a source of named concepts.

A probe is multinomial logistic regression on standardised features with an L2 penalty, convex and therefore the same
for every start. It is folded back to raw features, so `features @ weight.T + bias` gives its scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.errors import DataError

# Inverse strength of the L2 penalty, chosen on the training corpora by cross-validation over 0.01..1.
PENALTY = 0.05


@dataclass(frozen=True)
class Probe:
    """Scores `[n, classes]` of pooled features `[n, dim]`: `features @ weight.T + bias`."""

    classes: list[str]
    weight: Tensor
    """`[classes, dim]`, float32."""
    bias: Tensor
    """`[classes]`, float32."""

    def predict(self, features: Tensor) -> list[str]:
        """The most probable class of each row."""
        best = (features @ self.weight.T + self.bias).argmax(dim=-1)
        return [self.classes[index] for index in best.tolist()]

    def accuracy(self, features: Tensor, labels: Sequence[str]) -> float:
        """Share of rows whose most probable class is the label."""
        return float(np.mean([a == b for a, b in zip(self.predict(features), labels, strict=True)]))


def fit_probe(features: Tensor, labels: Sequence[str], *, penalty: float = PENALTY) -> Probe:
    """Fit a probe to pooled features `[n, dim]` and their `n` labels.

    Raises:
        DataError: fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression

    if len(set(labels)) < 2:
        raise DataError(f"a probe needs samples of at least two classes, got {sorted(set(labels))}")
    mean, scale = features.mean(dim=0), 1 / features.std(dim=0).clamp_min(1e-4)
    regression = LogisticRegression(C=penalty, max_iter=300, tol=1e-3)
    regression.fit(((features - mean) * scale).numpy(), list(labels))
    weight, bias = (torch.tensor(np.asarray(v), dtype=torch.float32) for v in (regression.coef_, regression.intercept_))
    if len(regression.classes_) == 2:
        # Two classes come as one signed score; give each its own, half of it.
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    weight = weight * scale
    return Probe([str(name) for name in regression.classes_], weight, bias - weight @ mean)
