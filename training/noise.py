"""Noise in the concepts of media, so that an answer is read from those that know it.

A projector of named concepts says what each of its groups makes of a medium, and a question asks for one of them. If
the others were silent in training, or always said the same beside it, the language model would answer with whatever
speaks, and be wrong as soon as they say something else: a photograph looks a little like one of the corpus's kinds of
drawings, another artist's dog like another breed. So, while it is trained, groups that are not asked about sometimes
name a concept at random, and what a question asks for has to be read from the group that knows it. Only a group that
another one is behind is left alone when that other one is asked about: one of the two speaks, and this one comes first.

A group of several tasks is in doubt between concepts of different tasks too: a word sounds a little like a number. Who
asks for a number gets the right one if the language model takes it from what the group says of numbers, however little
that is. So a group that is asked about sometimes names a concept of another task besides, in any proportion.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.errors import ConfigurationError
from model.projectors.mlp import GroupSoftmax
from training.initialisation import Initialisation
from training.initialise import ConceptGroup, group_slices

# The group that is asked about where no group is known to know the answer.
UNKNOWN = -1
# What is left at least to the concept that another one is mixed into.
LEAST = 0.2


@dataclass
class _Group:
    """One group of a projector's concepts, and how it is disturbed."""

    place: slice
    """Of its concepts among all."""
    nothing: int | None
    """The concept of saying nothing, counted among its own."""
    share: float
    """Of the media about which another group is asked: for how many it names a random concept."""
    spared: tuple[int, ...]
    """For whose questions it never does: its own, those of the groups behind it, and those of no known group."""
    mixed: float
    """Of the media about which it is asked itself: for how many it names a concept of another task besides."""
    apart: Tensor
    """`[concepts, concepts]`, which those may be; empty where none is mixed in."""

    def disturb(self, probabilities: Tensor, asked: Tensor, own: int) -> Tensor:
        """Of its probabilities `[media, concepts]`, where group `asked` `[media]` is asked about and it is `own`."""
        count, device = len(probabilities), probabilities.device
        if self.mixed:
            self.apart = self.apart.to(device)
            chosen = (torch.rand(count, device=device) < self.mixed) & (asked == own)
            probabilities = torch.where(chosen[:, None], mix_concepts(probabilities, self.apart), probabilities)
        if self.share:
            disturbed = torch.rand(count, device=device) < self.share
            for spared in self.spared:
                disturbed &= asked != spared
            random = random_concepts(probabilities, self.nothing)
            probabilities = torch.where(disturbed[:, None], random, probabilities)
        return probabilities


class ConceptNoise:
    """Disturbs one projector in training mode, for the media whose question is known to ask for one of its groups.

    Attributes:
        asked: for each medium `[media]` that is projected next, the number of that group, or `UNKNOWN`.
    """

    def __init__(
        self,
        projector: nn.Module,
        groups: Sequence[ConceptGroup],
        initialisation: Initialisation,
        labels: Mapping[str, Collection[str]],
    ) -> None:
        """Begin to disturb.

        Args:
            projector: its softmax groups are `groups`.
            groups: the concepts.
            initialisation: says of each group for how many of the media about which another one is asked it names a
                random concept, for how many about which it is asked itself it names two, and which group is behind it.
            labels: by task, the concepts that it asks for; of the tasks of groups that name two.

        Raises:
            ConfigurationError: a group is to name concepts of two tasks, but every two of them share one.
        """
        self.asked: Tensor | None = None
        places = group_slices([len(group.names) for group in groups])
        fronts = [initialisation.front(index) for index in range(len(groups))]
        self._groups: list[_Group] = []
        for index, (group, concepts, place) in enumerate(zip(groups, initialisation.concepts, places, strict=True)):
            apart = torch.empty(0, 0, dtype=torch.bool)
            if concepts.mixed:
                apart = concepts_apart(group.names, [labels[task] for task in concepts.tasks])
                if not apart.any():
                    raise ConfigurationError(f"concepts[{index}].mixed: every two of its concepts share a task")
            nothing = group.names.index(None) if None in group.names else None
            behind = (other for other, front in enumerate(fronts) if front == index)
            spared = (UNKNOWN, index, *behind)
            self._groups.append(_Group(place, nothing, concepts.noise, spared, concepts.mixed, apart))
        (softmax,) = (module for module in projector.modules() if isinstance(module, GroupSoftmax))
        softmax.register_forward_hook(self._disturb)

    def set_shares(self, shares: Sequence[float]) -> None:
        """Of each group: for how many of the media about which another one is asked it names a random concept."""
        for group, share in zip(self._groups, shares, strict=True):
            group.share = share

    def _disturb(self, module: nn.Module, _: object, probabilities: Tensor) -> Tensor | None:
        if not module.training or self.asked is None:
            return None
        asked = self.asked.to(probabilities.device)
        return torch.cat(
            [group.disturb(probabilities[:, group.place], asked, index) for index, group in enumerate(self._groups)],
            dim=-1,
        )


def random_concepts(probabilities: Tensor, nothing: int | None) -> Tensor:
    """As `[media, concepts]`, one concept of each row has all the probability; never number `nothing`."""
    count, size = probabilities.shape
    if nothing is None:
        chosen = torch.randint(size, (count,), device=probabilities.device)
    else:
        chosen = torch.randint(size - 1, (count,), device=probabilities.device)
        chosen = chosen + (chosen >= nothing)
    return functional.one_hot(chosen, size).to(probabilities.dtype)


def concepts_apart(names: Sequence[str | None], tasks: Sequence[Collection[str]]) -> Tensor:
    """As `[concepts, concepts]`, which two are concepts, but never of the same one of `tasks`."""
    member = torch.tensor([[name in task for task in tasks] for name in names], dtype=torch.float32)
    known = member.any(dim=1)
    return (member @ member.T == 0) & known[:, None] & known


def mix_concepts(probabilities: Tensor, apart: Tensor) -> Tensor:
    """As `[media, concepts]`: a random part of each row goes to one concept that is apart from its most probable one.

    Rows of whose most probable concept nothing is apart stay as they are.
    """
    allowed = apart[probabilities.argmax(dim=-1)]
    possible = allowed.any(dim=-1, keepdim=True)
    other = torch.multinomial((allowed | ~possible).to(torch.float32), 1)[:, 0]
    kept = LEAST + (1 - LEAST) * torch.rand(len(probabilities), 1, device=probabilities.device)
    named = functional.one_hot(other, probabilities.shape[1]).to(probabilities.dtype)
    mixed = kept * probabilities + (1 - kept) * named * probabilities.sum(dim=-1, keepdim=True)
    return torch.where(possible, mixed, probabilities)
