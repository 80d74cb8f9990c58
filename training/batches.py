"""Rows -> batches of rows of about the same length, so that little is computed on padding.

All batches of a run are known before its first step: progress, totals and resuming need no counting while it runs.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
from torch.utils.data import Sampler

from model.errors import DataError
from training.dataset import Conversations, bucket
from training.stage import Stage

# Share of positions that may be padding before another padded length is added.
PADDING = 0.08
# Padded lengths are multiples of this, or of a 128th of the longest: kernels like them, and there are fewer to try.
MULTIPLE, FINEST = 8, 128


def padded_lengths(lengths: Sequence[int], longest: int, share: float = PADDING) -> list[int]:
    """The fewest lengths to pad rows to such that at most `share` of all positions are padding.

    Few, because compiled code is compiled for each. The best choice of k lengths is found exactly, by dynamic
    programming over the multiples in question.

    Args:
        lengths: of the rows, tokens; none longer than `longest`.
        longest: the stage's `max_length`.
        share: 0..1; where even all the multiples pad more, all that hold a row are given.
    """
    unit = max(MULTIPLE, -(-longest // FINEST))
    # The last one may be no multiple: nothing is longer than `longest`.
    sizes = np.array([min(unit * n, longest) for n in range(1, -(-longest // unit) + 1)])
    counts = np.bincount(np.searchsorted(sizes, np.array(lengths)), minlength=len(sizes))
    used = np.flatnonzero(counts)
    sizes, counts = sizes[used], counts[used]
    rows = np.concatenate([[0], np.cumsum(counts)])
    # best[i]: fewest positions for the rows of the first i sizes with k padded lengths; cuts[k][i]: where the last of
    # these lengths begins.
    best = np.full(len(sizes) + 1, np.inf)
    best[0] = 0.0
    cuts: list[np.ndarray] = []
    for _ in sizes:
        cost = best[None, :-1] + (rows[1:, None] - rows[None, :-1]) * sizes[:, None]
        cost[np.triu_indices(len(sizes), 1)] = np.inf
        cuts.append(cost.argmin(axis=1))
        best = np.concatenate([[np.inf], cost.min(axis=1)])
        if best[-1] * (1 - share) <= sum(lengths):
            break
    chosen: list[int] = []
    end = len(sizes)
    for cut in reversed(cuts):
        chosen.append(int(sizes[end - 1]))
        end = int(cut[end - 1])
    return sorted(chosen)


@dataclass(frozen=True)
class Batch:
    """One batch before it is collated."""

    rows: tuple[int, ...]
    """Indices."""
    length: int
    """Positions each is padded to."""
    samples: int
    tokens: int
    """Positions that are no padding."""


class LengthBatches(Sampler[list[int]]):
    """Batches of rows that are padded to the same length, shuffled by `seed`, in another order in every epoch.

    Every row is in at least one batch of an epoch, and all batches of a length are of one size, so that compiled code
    sees one shape per length: the last one is filled up with other rows of that length.

    Args:
        data: what to batch.
        lengths: the padded lengths; a row goes to the smallest that holds it.
        stage: rows per batch, epochs or steps.
        seed: of the order.
        apart: keep rows with and without media in batches of their own, as an adapter that is active only with media
            asks for.
        devices: that share the batches; each gets as many as the others.

    Raises:
        DataError: a row longer than the longest of `lengths`, or no row at all.
    """

    def __init__(
        self,
        data: Conversations,
        lengths: Sequence[int],
        stage: Stage,
        seed: int,
        *,
        apart: bool = False,
        devices: int = 1,
    ) -> None:
        if not len(data):
            raise DataError(f"stage {stage.name}: there is no conversation to train on")
        self.data, self.stage, self.seed, self.devices = data, stage, seed, devices
        self.buckets: dict[tuple[int, bool], list[int]] = {}
        for index, size in enumerate(data.lengths):
            key = bucket(size, lengths), apart and bool(data.media[index])
            self.buckets.setdefault(key, []).append(index)

    @cached_property
    def plan(self) -> list[Batch]:
        """Every batch of the run, in order."""
        if self.stage.steps is not None:
            count = self.stage.steps * self.stage.accumulation * self.devices
            return list(islice(self._epochs(count), count))
        batches = list(self._epochs(self.stage.epochs))
        return batches + batches[: -len(batches) % self.devices]

    @property
    def padding(self) -> float:
        """Share of all positions that are padding."""
        positions = sum(len(batch.rows) * batch.length for batch in self.plan)
        return 1 - sum(batch.tokens for batch in self.plan) / positions

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[list[int]]:
        return (list(batch.rows) for batch in self.plan)

    def _epochs(self, epochs: int) -> Iterator[Batch]:
        for epoch in range(epochs):
            yield from self._epoch(random.Random(self.seed if epoch == 0 else f"{self.seed}-{epoch}"))

    def _epoch(self, generator: random.Random) -> list[Batch]:
        batches: list[Batch] = []
        for (length, _), indices in sorted(self.buckets.items()):
            order = generator.sample(indices, len(indices))
            size = self.stage.rows(length)
            order += generator.choices(indices, k=-len(order) % size)
            batches += [self._batch(order[start : start + size], length) for start in range(0, len(order), size)]
        generator.shuffle(batches)
        return batches

    def _batch(self, indices: Sequence[int], length: int) -> Batch:
        samples = sum(self.data.samples[index] for index in indices)
        return Batch(tuple(indices), length, samples, sum(self.data.lengths[index] for index in indices))
