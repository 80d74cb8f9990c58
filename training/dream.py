"""Synthetic feature vectors of an encoder's own classes, so that names can be learned without a labelled photograph.

From features of any pictures at hand, each vector is pushed along the gradient of one class's log-probability until the
encoder's head gives that class a wanted probability. The vectors stay near the features they began at, so they carry
the same background of other causes that real pictures have.
"""

import torch
from torch import Tensor

STEP = 0.5
MAX_STEPS = 200


def dream(head: tuple[Tensor, Tensor], base: Tensor, classes: Tensor, *, seed: int = 0) -> Tensor:
    """Push `base` features until the head names `classes`.

    Args:
        head: weight `[classes, dim]` and bias `[classes]`.
        base: `[n, dim]` features of any media, non-negative as pooled rectified channels are.
        classes: `[n]` wanted class indices.
        seed: for the wanted probabilities, uniform in 0.4..0.95 as real photographs have.

    Returns:
        `[n, dim]`, float32, non-negative.
    """
    weight, bias = head
    generator = torch.Generator().manual_seed(seed)
    wanted = 0.4 + 0.55 * torch.rand(len(base), generator=generator)
    # A picture of something else entirely must not drown the class: begin at a diluted mixture of two pictures.
    share = torch.rand(len(base), 1, generator=generator)
    partner = base[torch.randperm(len(base), generator=generator)]
    features = share * base + (1 - share) * partner
    for _ in range(MAX_STEPS):
        probabilities = (features @ weight.T + bias).softmax(dim=-1)
        short = probabilities.gather(1, classes[:, None])[:, 0] < wanted
        if not bool(short.any()):
            break
        gradient = weight[classes[short]] - probabilities[short] @ weight
        step = STEP * gradient / gradient.norm(dim=-1, keepdim=True)
        features[short] = (features[short] + step).clamp_min(0)
    return features
