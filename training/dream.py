"""Synthetic feature vectors of an encoder's own classes, so that names can be learned without a labelled photograph.

From features of any pictures at hand, each vector is pushed along the gradient of one class's log-probability until the
encoder's head gives that class a wanted probability. The vectors stay near the features they began at, so they carry
the same background of other causes that real pictures have.
"""

import torch
from torch import Tensor

from model.errors import DataError

# Length of one push, in units of the features.
STEP = 0.5
MAX_STEPS = 200
# Probabilities that real photographs get from the head of their own class.
LOW, HIGH = 0.4, 0.95


def dream(head: tuple[Tensor, Tensor], base: Tensor, classes: Tensor, *, seed: int = 0) -> Tensor:
    """Push `base` features until the head names `classes`.

    Args:
        head: weight `[classes, dim]` and bias `[classes]`.
        base: `[n, dim]` features of any media, non-negative as pooled rectified channels are.
        classes: `[n]` wanted class indices.
        seed: for the wanted probabilities, uniform in `LOW..HIGH`, and for what is mixed.

    Returns:
        `[n, dim]`, float32, non-negative; the head gives each row's class at least the wanted probability.

    Raises:
        DataError: a class the head does not come to name in `MAX_STEPS` steps.
    """
    weight, bias = head
    generator = torch.Generator().manual_seed(seed)
    wanted = LOW + (HIGH - LOW) * torch.rand(len(base), generator=generator)
    # A picture of something else entirely must not drown the class: begin at a diluted mixture of two pictures.
    share = torch.rand(len(base), 1, generator=generator)
    partner = base[torch.randperm(len(base), generator=generator)]
    features = share * base + (1 - share) * partner
    short = torch.arange(len(base))
    for _ in range(MAX_STEPS + 1):
        # A row is done once it has been named: only the rest is computed again.
        probabilities = (features[short] @ weight.T + bias).softmax(dim=-1)
        behind = probabilities.gather(1, classes[short, None])[:, 0] < wanted[short]
        short, probabilities = short[behind], probabilities[behind]
        if not len(short):
            return features
        gradient = weight[classes[short]] - probabilities @ weight
        step = STEP * gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        features[short] = (features[short] + step).clamp_min(0)
    raise DataError(
        f"{len(short)} of {len(base)} synthetic features, class {int(classes[short[0]])} among them, are not named by "
        f"the head after {MAX_STEPS} steps; are these the features that the head was trained on?"
    )
