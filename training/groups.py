"""Groups of concepts that are trained alone: what the others say and mean stays as it is, to the bit.

A group has its own rows of a projector's first layer, which score its concepts, and its own columns of the second,
which hold what they mean to the language model. All else in the projector is shared by every group.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model.projectors.mlp import Mlp
from training.initialise import ConceptGroup


def trained_concepts(groups: Sequence[ConceptGroup], numbers: Collection[int]) -> Tensor:
    """Which concepts `[concepts]` of all groups are trained where only the groups of these numbers are.

    That of saying nothing is not: it speaks wherever another group is asked about, and what is learned beside the few
    of those media that a stage shows would be heard beside all of them.
    """
    return torch.tensor([number in numbers and name is not None for number, g in enumerate(groups) for name in g.names])


@contextmanager
def only_concepts(projectors: nn.ModuleDict, chosen: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, gradients reach nothing of these projectors but the rows and columns of some of their concepts.

    Args:
        projectors: by modality; those in `chosen` are of named concepts.
        chosen: by modality, which of them `[concepts]` are trained. None: nothing of that projector is.
    """
    hooks = []
    for name, concepts in chosen.items():
        projector = projectors[name]
        assert isinstance(projector, Mlp)
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
