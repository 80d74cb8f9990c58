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
from training.cache import Features
from training.data import MediaRef, Sample, join_turns

# Tokens a chat template opens a conversation with, at least; only an estimate to fill rows with.
OPENING = 12


@dataclass(frozen=True)
class Row:
    """One tokenised conversation."""

    input_ids: list[int]
    labels: list[int]
    media: list[MediaRef]
    """In reading order."""


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
        DataError: a conversation that cannot be trained on, or longer than `max_length`; names the sample.
    """
    try:
        tokens = prompt.encode_training(sample.messages)
    except PromptError as error:
        raise DataError(f"sample {sample.id}: {error}") from None
    length = len(tokens.input_ids)
    if max_length is not None and length > max_length:
        raise DataError(
            f"sample {sample.id}: {length} tokens, at most {max_length} fit; raise max_length or shorten the sample"
        )
    return Row(tokens.input_ids, tokens.labels, sample.media)


def fill_rows(samples: Sequence[Sample], prompt: Prompt, *, turns: int, max_length: int, seed: int) -> list[Row]:
    """Shuffle samples and join 1 to `turns` of them into each conversation, as far as `max_length` allows.

    Every sample is in exactly one row. One with a system message has a row of its own: it speaks for its own turns.

    Raises:
        DataError: a sample that alone is longer than `max_length`, by id.
    """
    generator = random.Random(seed)
    shuffled = generator.sample(list(samples), len(samples))
    rows: list[Row] = []
    group: list[Sample] = []
    wanted, length = generator.randint(1, turns), 0
    for sample in shuffled:
        if turns == 1 or any(message["role"] == "system" for message in sample.messages):
            rows.append(encode_row(prompt, sample, max_length))
            continue
        size = len(encode_row(prompt, sample, max_length).input_ids)
        # Joined turns share the template's opening, so the sum of lengths is an upper bound.
        if group and (len(group) >= wanted or length + size > max_length + OPENING * len(group)):
            rows += _join(prompt, group, max_length)
            group, length, wanted = [], 0, generator.randint(1, turns)
        group.append(sample)
        length += size
    return rows + (_join(prompt, group, max_length) if group else [])


def _join(prompt: Prompt, group: list[Sample], max_length: int) -> list[Row]:
    """One row, or two halves where the estimate was too hopeful."""
    if len(group) == 1:
        return [encode_row(prompt, group[0], max_length)]
    row = encode_row(prompt, join_turns(group))
    if len(row.input_ids) <= max_length:
        return [row]
    middle = len(group) // 2
    return _join(prompt, group[:middle], max_length) + _join(prompt, group[middle:], max_length)


class LengthBatches(Sampler[list[int]]):
    """Batches of rows that are padded to the same length, `tokens` positions in each, shuffled by `seed`.

    Every row is in at least one batch, and all batches of a length are of one size, so that compiled code sees one
    shape per length: the last one is filled up with other rows of that length.

    Args:
        rows: what to batch.
        lengths: the padded lengths; a row goes to the smallest that holds it.
        tokens: positions per batch, padding included; at least one row is in each.
        seed: of the order.

    Raises:
        DataError: a row longer than the longest of `lengths`.
    """

    def __init__(self, rows: Sequence[Row], lengths: Sequence[int], tokens: int, seed: int) -> None:
        self.tokens, self.seed = tokens, seed
        self.buckets: dict[int, list[int]] = {length: [] for length in sorted(lengths)}
        for index, row in enumerate(rows):
            self.buckets[bucket(len(row.input_ids), lengths)].append(index)

    def __len__(self) -> int:
        return sum(-(-len(indices) // self._rows(length)) for length, indices in self.buckets.items())

    def __iter__(self) -> Iterator[list[int]]:
        generator = random.Random(self.seed)
        batches: list[list[int]] = []
        for length, indices in self.buckets.items():
            order = generator.sample(indices, len(indices))
            size = self._rows(length)
            order += generator.choices(indices, k=-len(order) % size) if indices else []
            batches += [order[start : start + size] for start in range(0, len(order), size)]
        generator.shuffle(batches)
        return iter(batches)

    def _rows(self, length: int) -> int:
        return max(1, self.tokens // length)


def bucket(length: int, lengths: Sequence[int]) -> int:
    """The smallest of `lengths` that holds `length`.

    Raises:
        DataError: none does.
    """
    fitting = [size for size in lengths if size >= length]
    if not fitting:
        raise DataError(f"a conversation of {length} tokens is longer than the longest batch ({max(lengths)})")
    return min(fitting)


class Collator:
    """Rows -> one padded batch with features in reading order per modality."""

    def __init__(self, config: QuartetConfig, caches: Mapping[str, Features], lengths: Sequence[int], pad: int) -> None:
        self.config, self.caches, self.lengths, self.pad = config, caches, lengths, pad

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """`input_ids` and `labels` `[batch, length]`, and `features` `[media, length, dim]` per modality.

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
