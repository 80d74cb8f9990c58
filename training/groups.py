"""Groups of concepts that are trained alone: what the others say and mean stays as it is, to the bit.

A group has its own rows of a projector's first layer, which score its concepts, and its own columns of the second,
which hold what they mean to the language model. All else in the projector is shared by every group.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from model.projectors.mlp import Mlp


@contextmanager
def only_groups(projectors: nn.ModuleDict, chosen: Mapping[str, Collection[int]]) -> Iterator[None]:
    """Inside, gradients reach nothing of these projectors but the rows and columns of some of their groups.

    Args:
        projectors: by modality; those in `chosen` are of named concepts.
        chosen: by modality, numbers of groups. None of them: nothing of that projector is trained.
    """
    hooks = []
    for name, numbers in chosen.items():
        projector = projectors[name]
        assert isinstance(projector, Mlp)
        concepts = _concepts(projector.config.groups, numbers)
        masks = {"first.weight": concepts[:, None], "first.bias": concepts, "second.weight": concepts[None]}
        for key, parameter in projector.named_parameters():
            if parameter.requires_grad:
                mask = masks.get(key, torch.zeros(1, dtype=torch.bool)).to(parameter.device)
                hooks.append(parameter.register_hook(lambda gradient, mask=mask: gradient.masked_fill(~mask, 0.0)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _concepts(sizes: Collection[int], numbers: Collection[int]) -> Tensor:
    """Which concepts `[concepts]` belong to the groups of these numbers."""
    found = torch.zeros(sum(sizes), dtype=torch.bool)
    for number, (start, end) in enumerate(pairwise(accumulate(sizes, initial=0))):
        found[start:end] = number in numbers
    return found
