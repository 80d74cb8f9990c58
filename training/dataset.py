"""Samples -> tokenised conversations -> padded batches with features; `training.batches` says which go together.

Short questions are joined into conversations of several turns that fill the row, so the system message is paid for once
and several media over several turns is what the model sees from the start.
"""

import random
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.configuration import QuartetConfig
from model.errors import DataError, PromptError
from model.prompt import IGNORE, Prompt
from training.cache import Features, OnTheFly
from training.data import MediaRef, Sample, join_turns
from training.noise import UNKNOWN
from training.problems import Kind, OnProblem, ProblemLog, SampleError

# Tokens a chat template opens a conversation with, at least; only an estimate to fill rows with.
OPENING = 12


@dataclass(frozen=True)
class Row:
    """One tokenised conversation."""

    input_ids: list[int]
    labels: list[int]
    media: list[MediaRef]
    """In reading order."""
    samples: int = 1
    """How many samples were joined into it."""
    tasks: list[str] = field(default_factory=list)
    """What is asked about each medium; empty where that does not matter."""


class Conversations(Dataset[Row]):
    """Tokenised conversations of one stage: 8 bytes a token, where lists of numbers would take nine times as much.

    Attributes:
        lengths: of each row, tokens.
        samples: in each row.
        media: of each row, in reading order.
        tasks: of each medium.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.lengths: list[int] = []
        self.samples: list[int] = []
        self.media: list[list[MediaRef]] = []
        self.tasks: list[list[str]] = []
        ids, labels = array("i"), array("i")
        for row in rows:
            ids.extend(row.input_ids)
            labels.extend(row.labels)
            self.lengths.append(len(row.input_ids))
            self.samples.append(row.samples)
            self.media.append(row.media)
            self.tasks.append(row.tasks)
        self._ids, self._labels = ids, labels
        self._starts = list(accumulate(self.lengths, initial=0))

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Row:
        place = slice(self._starts[index], self._starts[index] + self.lengths[index])
        ids, labels = self._ids[place].tolist(), self._labels[place].tolist()
        return Row(ids, labels, self.media[index], self.samples[index], self.tasks[index])

    def prefix(self, media: Collection[int]) -> int:
        """Tokens that all rows begin with: as many as can be computed once for all (`model.shared_prefix`).

        None of them is in `media`, the ids of placeholders, and none of them or the next is learned.
        """
        ids, labels = np.asarray(self._ids), np.asarray(self._labels)
        found = self.lengths[0] if self.lengths else 0
        for start, length in zip(self._starts, self.lengths, strict=False):
            # The next token is asked for by the last of the prefix.
            found = min(found, length - 1)
            here, asked = ids[start : start + found], labels[start + 1 : start + found + 1]
            last = (here != ids[:found]) | np.isin(here, list(media)) | (asked != IGNORE)
            found = int(last.argmax()) if last.any() else found
        return found


def encode_row(prompt: Prompt, sample: Sample, max_length: int | None = None) -> Row:
    """Tokenise one sample.

    Raises:
        SampleError: a conversation that cannot be trained on, or longer than `max_length`; names the sample.
    """
    try:
        tokens = prompt.encode_training(sample.messages)
    except PromptError as error:
        raise SampleError(Kind.PROMPT, f"sample {sample.id}: {error}", sample.where) from None
    length = len(tokens.input_ids)
    if max_length is not None and length > max_length:
        raise SampleError(
            Kind.TOO_LONG,
            f"sample {sample.id}: {length} tokens, at most {max_length} fit; raise max_length, shorten the sample or "
            "let the source skip what is too long",
            sample.where,
        )
    return Row(tokens.input_ids, tokens.labels, sample.media, tasks=[sample.task] * len(sample.media))


def fill_rows(
    samples: Sequence[Sample],
    prompt: Prompt,
    *,
    turns: int,
    max_length: int,
    seed: int,
    on_problem: OnProblem = "error",
    problems: ProblemLog | None = None,
) -> Iterator[Row]:
    """Shuffle samples and join 1 to `turns` of them into each conversation, as far as `max_length` allows.

    Every sample is in exactly one row. One with a system message has a row of its own: it speaks for its own turns.

    Args:
        samples: each as often as it is to be seen.
        prompt: makes tokens of them.
        turns: most samples in one row.
        max_length: longest row, tokens.
        seed: of the order.
        on_problem: `skip` leaves out samples that alone are longer than `max_length`.
        problems: counts what is left out.

    Raises:
        SampleError: a sample that alone is longer than `max_length`, by place and id; the policy is `error`.
    """
    problems = problems or ProblemLog()
    generator = random.Random(seed)
    shuffled = generator.sample(list(samples), len(samples))
    group: list[Sample] = []
    wanted, length = generator.randint(1, turns), 0
    for sample in shuffled:
        try:
            row = encode_row(prompt, sample, max_length)
        except SampleError as error:
            problems.settle(error, on_problem)
            continue
        if turns == 1 or any(message["role"] == "system" for message in sample.messages):
            yield row
            continue
        size = len(row.input_ids)
        # Joined turns share the template's opening, so the sum of lengths is an upper bound.
        if group and (len(group) >= wanted or length + size > max_length + OPENING * len(group)):
            yield from _join(prompt, group, max_length)
            group, length, wanted = [], 0, generator.randint(1, turns)
        group.append(sample)
        length += size
    if group:
        yield from _join(prompt, group, max_length)


def _join(prompt: Prompt, group: list[Sample], max_length: int) -> list[Row]:
    """One row, or two halves where the estimate was too hopeful."""
    if len(group) == 1:
        return [encode_row(prompt, group[0], max_length)]
    tasks = [sample.task for sample in group for _ in sample.media]
    row = replace(encode_row(prompt, join_turns(group)), samples=len(group), tasks=tasks)
    if len(row.input_ids) <= max_length:
        return [row]
    middle = len(group) // 2
    return _join(prompt, group[:middle], max_length) + _join(prompt, group[middle:], max_length)


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
    """Rows -> one padded batch with features in reading order per modality.

    Args:
        config: of the model.
        caches: give the features of each modality. Those of an encoder that is trained are left to the model: the batch
            holds its preprocessed media instead.
        lengths: a batch is padded to the smallest that holds its rows.
        pad: token id of padding.
        prefix: tokens that all rows begin with and that are computed once; 0: every row for itself.
        asked: by modality and task, the group of concepts that is asked about (`training.noise`).
    """

    def __init__(
        self,
        config: QuartetConfig,
        caches: Mapping[str, Features],
        lengths: Sequence[int],
        pad: int,
        *,
        prefix: int = 0,
        asked: Mapping[str, Mapping[str, int]] | None = None,
    ) -> None:
        self.config, self.caches, self.lengths, self.pad, self.prefix = config, caches, lengths, pad, prefix
        self.asked = asked or {}

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        """`input_ids` and `labels` `[batch, length]`, and `features` `[media, length, dim]` per modality.

        `media` holds a list of preprocessed media per modality whose encoder is trained, and `prefix` the tokens that
        all rows begin with; they are missing where there are none. So is `asked`: by modality, the number of the group
        of concepts that is asked about each medium `[media]`, `UNKNOWN` where none is known. Rows are padded on the
        right, where causal attention never looks, so no mask is needed.
        """
        length = bucket(max(len(row.input_ids) for row in rows), self.lengths)
        input_ids = torch.full((len(rows), length), self.pad)
        labels = torch.full((len(rows), length), IGNORE)
        for i, row in enumerate(rows):
            size = len(row.input_ids)
            input_ids[i, :size] = torch.tensor(row.input_ids)
            labels[i, :size] = torch.tensor(row.labels)
        by_modality: dict[str, list[MediaRef]] = {}
        for row in rows:
            for reference in row.media:
                by_modality.setdefault(reference.modality, []).append(reference)
        features: dict[str, Tensor] = {}
        media: dict[str, list[Tensor]] = {}
        for name, references in by_modality.items():
            source = self.caches[name]
            if isinstance(source, OnTheFly) and source.trained and torch.is_grad_enabled():
                media[name] = source.inputs(references)
            else:
                features[name] = source.stack(references)
        batch: dict[str, Any] = {"input_ids": input_ids, "labels": labels, "features": features}
        if media:
            batch["media"] = media
        asked = {name: self._groups(name, rows) for name in self.asked if name in by_modality}
        if asked:
            batch["asked"] = asked
        if self.prefix:
            batch["prefix"] = self.prefix
        return batch

    def _groups(self, modality: str, rows: Sequence[Row]) -> Tensor:
        """The group that each medium of a modality is asked about."""
        groups = self.asked[modality]
        pairs = (pair for row in rows for pair in zip(row.media, row.tasks, strict=True))
        return torch.tensor([groups.get(task, UNKNOWN) for medium, task in pairs if medium.modality == modality])
