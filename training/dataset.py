"""Samples -> tokenised conversations with features, in batches of one length each.

Short questions are joined into conversations of several turns that fill the row, so the system message is paid for once
and several media over several turns is what the model sees from the start.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from model.configuration import QuartetConfig
from model.errors import DataError, PromptError
from model.prompt import IGNORE, Prompt
from training.cache import FeatureCache
from training.data import MediaRef, Sample, join_turns


@dataclass(frozen=True)
class Row:
    """One tokenised conversation."""

    input_ids: list[int]
    labels: list[int]
    media: list[MediaRef]


class Conversations(Dataset[Row]):
    """Tokenised conversations of one stage."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = list(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]


def encode_row(prompt: Prompt, sample: Sample, max_length: int | None = None) -> Row:
    """Tokenise one sample.

    Raises:
        DataError: no assistant text, or longer than `max_length`; names the sample.
    """
    try:
        tokens = prompt.encode_training(sample.messages)
    except PromptError as error:
        raise DataError(f"sample {sample.id}: {error}") from None
    if max_length is not None and len(tokens.input_ids) > max_length:
        raise DataError(
            f"sample {sample.id}: {len(tokens.input_ids)} tokens, at most {max_length} fit; raise max_length or shorten it"
        )
    return Row(tokens.input_ids, tokens.labels, sample.media)


def fill_rows(samples: Sequence[Sample], prompt: Prompt, *, turns: int, max_length: int, seed: int) -> list[Row]:
    """Shuffle samples and join 1 to `turns` of them into each conversation, as far as `max_length` allows."""
    generator = random.Random(seed)
    order = generator.sample(range(len(samples)), len(samples))
    lengths = (
        {index: len(encode_row(prompt, samples[index], max_length).input_ids) for index in order} if turns > 1 else {}
    )
    rows: list[Row] = []
    group: list[Sample] = []
    wanted, length = generator.randint(1, turns), 0
    for index in order:
        sample = samples[index]
        # Joined turns share the template's opening, so the sum of lengths is an upper bound.
        if group and (len(group) >= wanted or length + lengths.get(index, 0) > max_length + OPENING * len(group)):
            rows += _join(prompt, group, max_length)
            group, length, wanted = [], 0, generator.randint(1, turns)
        group.append(sample)
        length += lengths.get(index, 0)
    return rows + _join(prompt, group, max_length)


# Tokens a chat template opens a conversation with, at least; only an estimate to fill rows with.
OPENING = 12


def _join(prompt: Prompt, group: list[Sample], max_length: int) -> list[Row]:
    """One row, or two halves where the estimate was too hopeful."""
    row = encode_row(prompt, join_turns(group))
    if len(row.input_ids) <= max_length:
        return [row]
    if len(group) == 1:
        return [encode_row(prompt, group[0], max_length)]
    middle = len(group) // 2
    return _join(prompt, group[:middle], max_length) + _join(prompt, group[middle:], max_length)


class LengthBatches(Sampler[list[int]]):
    """Batches of rows that are padded to the same length, `tokens` positions in each, in a shuffled order per epoch."""

    def __init__(self, rows: Sequence[Row], lengths: Sequence[int], tokens: int, seed: int) -> None:
        self.lengths, self.tokens, self.seed, self.epoch = sorted(lengths), tokens, seed, 0
        self.buckets: dict[int, list[int]] = {length: [] for length in self.lengths}
        for index, row in enumerate(rows):
            self.buckets[bucket(len(row.input_ids), self.lengths)].append(index)

    def __len__(self) -> int:
        return sum(-(-len(indices) // self._rows(length)) for length, indices in self.buckets.items())

    def __iter__(self) -> Iterator[list[int]]:
        generator = random.Random(self.seed + self.epoch)
        batches: list[list[int]] = []
        for length, indices in self.buckets.items():
            order = generator.sample(indices, len(indices))
            size = self._rows(length)
            # A last, partial batch is filled up, so that compiled code sees one shape per length.
            order += generator.choices(indices, k=-len(order) % size) if indices else []
            batches += [order[start : start + size] for start in range(0, len(order), size)]
        generator.shuffle(batches)
        return iter(batches)

    def set_epoch(self, epoch: int) -> None:
        """Another order for another epoch."""
        self.epoch = epoch

    def _rows(self, length: int) -> int:
        return max(1, self.tokens // length)


def bucket(length: int, lengths: Sequence[int]) -> int:
    """The smallest of `lengths` that holds `length`."""
    return next(size for size in sorted(lengths) if size >= length)


class Collator:
    """Rows -> one padded batch with features in reading order per modality."""

    def __init__(
        self, config: QuartetConfig, caches: Mapping[str, FeatureCache], lengths: Sequence[int], pad: int
    ) -> None:
        self.config, self.caches, self.lengths, self.pad = config, caches, lengths, pad

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """`input_ids` and `labels` `[batch, length]`, and `features` per modality.

        Rows are padded on the right, where causal attention never looks, so no mask is needed.
        """
        length = bucket(max(len(row.input_ids) for row in rows), self.lengths)
        input_ids = torch.full((len(rows), length), self.pad)
        labels = torch.full((len(rows), length), IGNORE)
        for i, row in enumerate(rows):
            size = len(row.input_ids)
            input_ids[i, :size] = torch.tensor(row.input_ids)
            labels[i, :size] = torch.tensor(row.labels)
        return {"input_ids": input_ids, "labels": labels, "features": self._features(rows)}

    def _features(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        by_modality: dict[str, list[MediaRef]] = {}
        for row in rows:
            for reference in row.media:
                by_modality.setdefault(reference.modality, []).append(reference)
        return {name: self.caches[name].stack(references) for name, references in by_modality.items()}
