"""Scores of concepts by a hidden layer: more accurate than a linear probe where many labels share few features.

Several small networks are fitted to the same labels and averaged: half of them on features with noise, half on mixtures
of two media and their labels (mixup: Zhang et al., ICLR 2018), which err differently. Since only one hidden layer
stands between features and scores, their mean is a network of one hidden layer again, with the units of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import DataError

MEMBERS = 4
EPOCHS, BATCH = 40, 256
RATE, DECAY, DROPOUT = 2e-3, 0.05, 0.3
# Noise in units of each feature's spread, and the parameter of mixup's Beta distribution (None: no mixtures), of the
# members in turn. Four such settings were compared on the demo's speech; each gained in some tasks what it lost in
# others, their mean gained in all.
NOISE, MIXTURE = (1.0, 0.3), (None, 0.3)


@dataclass(frozen=True)
class Scorer:
    """Scores `[n, classes]` of pooled features `[n, dim]`: `gelu(features @ units.T + offset) @ weight.T + bias`."""

    classes: list[str]
    units: Tensor
    """`[units, dim]`, float32."""
    offset: Tensor
    """`[units]`."""
    weight: Tensor
    """`[classes, units]`."""
    bias: Tensor
    """`[classes]`."""

    def scores(self, features: Tensor) -> Tensor:
        """`[n, classes]` of `[n, dim]`."""
        return functional.gelu(features @ self.units.T + self.offset) @ self.weight.T + self.bias

    def predict(self, features: Tensor) -> list[str]:
        """The most probable class of each row."""
        return [self.classes[index] for index in self.scores(features).argmax(dim=-1).tolist()]

    def accuracy(self, features: Tensor, labels: Sequence[str]) -> float:
        """Share of rows whose most probable class is the label."""
        return float(np.mean([a == b for a, b in zip(self.predict(features), labels, strict=True)]))


def fit_scorer(features: Tensor, labels: Sequence[str], *, units: int, seed: int = 0) -> Scorer:
    """Fit the networks to pooled features `[n, dim]` and their `n` labels.

    Args:
        features: of training media.
        labels: of each.
        units: hidden units of all members together.
        seed: of weights, order, noise and mixtures.

    Raises:
        DataError: fewer than two classes.
    """
    classes = sorted(set(labels))
    if len(classes) < 2:
        raise DataError(f"scores need samples of at least two classes, got {classes}")
    mean, spread = features.mean(dim=0), features.std(dim=0).clamp_min(1e-4)
    place = {name: index for index, name in enumerate(classes)}
    wanted = torch.tensor([place[label] for label in labels])
    count = min(MEMBERS, units)
    sizes = [units // count + (index < units % count) for index in range(count)]
    # Whatever randomness was used before; and what is used here changes nothing afterwards.
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        members = [
            _fit((features - mean) / spread, wanted, len(classes), size, NOISE[i % 2], MIXTURE[i % 2])
            for i, size in enumerate(sizes)
        ]
    hidden = torch.cat([member[0].weight.detach() for member in members]) / spread
    offset = torch.cat([member[0].bias.detach() for member in members]) - hidden @ mean
    weight = torch.cat([member[1].weight.detach() for member in members], dim=1) / count
    bias = torch.stack([member[1].bias.detach() for member in members]).mean(dim=0)
    return Scorer(classes, hidden, offset, weight, bias)


def _fit(
    features: Tensor, wanted: Tensor, classes: int, size: int, noise: float, mixture: float | None
) -> tuple[nn.Linear, nn.Linear]:
    """One member's two layers, for standardised features."""
    first, second = nn.Linear(features.shape[1], size), nn.Linear(size, classes)
    parameters = [*first.parameters(), *second.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY)
    # Few media still make some steps an epoch.
    batch = max(1, min(BATCH, len(features) // 8))
    steps = EPOCHS * (len(features) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    share = None if mixture is None else torch.distributions.Beta(mixture, mixture)
    for _ in range(EPOCHS):
        order = torch.randperm(len(features))
        for start in range(0, len(features) - batch + 1, batch):
            chosen = order[start : start + batch]
            given = features[chosen]
            given = given + noise * torch.randn_like(given)
            target = functional.one_hot(wanted[chosen], classes).float()
            if share is not None:
                part, partner = share.sample((batch, 1)), torch.randperm(batch)
                given = part * given + (1 - part) * given[partner]
                target = part * target + (1 - part) * target[partner]
            hidden = functional.dropout(functional.gelu(first(given)), DROPOUT)
            loss = functional.cross_entropy(second(hidden), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return first, second
