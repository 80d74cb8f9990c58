"""Teacher forcing: how probable each reference answer is, and whether it is the model's own, in one pass.

An answer is exact when every one of its tokens, the end token included, is the most probable one given those before
it; that is exactly when greedy decoding gives the answer word for word. Nothing is generated for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from model.prompt import IGNORE
from model.reference import QuartetForConditionalGeneration
from training.cache import FeatureCache
from training.dataset import Collator, Row

BATCH = 32
# Positions per batch, padding included: bounds the memory where conversations are long.
POSITIONS = 4096
# Lengths are rounded up to a multiple of this, so that few shapes occur.
STEP = 8
# Tokens whose probabilities are in float32 at once; a vocabulary is wide.
SCORED = 256


@dataclass(frozen=True)
class Forced:
    """One reference answer under a model."""

    exact: bool
    surprise: float
    """Sum of -log p over its tokens, control tokens left out, nats."""
    tokens: int
    """How many tokens those are."""


def exact(
    model: QuartetForConditionalGeneration, caches: Mapping[str, FeatureCache], rows: Sequence[Row], name: str = ""
) -> list[bool]:
    """For each row, whether greedy decoding gives every assistant turn word for word."""
    return [all(answer.exact for answer in answers) for answers in force(model, caches, rows, frozenset(), name)]


@torch.inference_mode()
def force(
    model: QuartetForConditionalGeneration,
    caches: Mapping[str, FeatureCache],
    rows: Sequence[Row],
    controls: frozenset[int],
    name: str = "",
) -> list[list[Forced]]:
    """Score every assistant turn of every row.

    Args:
        model: in evaluation mode, wherever it is.
        caches: hold the features of the rows' media.
        rows: tokenised conversations; rows with and without media are never in one batch.
        controls: ids of control tokens; they count for exactness and not for surprise.
        name: of the progress bar.
    """
    found: list[list[Forced]] = [[] for _ in rows]
    lengths = sorted({_rounded(row) for row in rows})
    collate = Collator(model.config, caches, lengths, pad=0)
    with tqdm(total=len(rows), desc=name, leave=False) as bar:
        for part in batches(rows):
            batch = collate([rows[index] for index in part])
            labels = batch["labels"][:, 1:]
            output = model(**_moved(batch, model.device))
            targets = labels[labels != IGNORE]
            hits, surprises = _scores(output.logits, targets.to(model.device))
            start = 0
            for index, row_labels in zip(part, labels, strict=True):
                for size in _spans(row_labels):
                    span = slice(start, start + size)
                    counted = [i for i in range(start, start + size) if int(targets[i]) not in controls]
                    found[index].append(Forced(bool(hits[span].all()), float(surprises[counted].sum()), len(counted)))
                    start += size
            bar.update(len(part))
    return found


def batches(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Indices of rows of about one length, those with media apart from those without."""
    order = sorted(range(len(rows)), key=lambda i: (bool(rows[i].media), len(rows[i].input_ids)))
    part: list[int] = []
    for index in order:
        mixed = part and bool(rows[part[0]].media) != bool(rows[index].media)
        # The rows come in order of length, so the new one is the longest.
        if part and (mixed or len(part) == BATCH or (len(part) + 1) * _rounded(rows[index]) > POSITIONS):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


def _scores(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each target is the most probable token, and its -log p; both `[n]` on the CPU."""
    hits, surprises = [], []
    for part, wanted in zip(logits.split(SCORED), targets.split(SCORED), strict=True):
        hits.append((part.argmax(dim=-1) == wanted).cpu())
        surprises.append(torch.nn.functional.cross_entropy(part.float(), wanted, reduction="none").double().cpu())
    return torch.cat(hits), torch.cat(surprises)


def _spans(labels: Tensor) -> list[int]:
    """Sizes of the runs of labelled positions: one per assistant turn, for what stands between turns is no label."""
    wanted = (labels != IGNORE).int()
    edges = torch.diff(wanted, prepend=wanted.new_zeros(1), append=wanted.new_zeros(1))
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return (ends - starts).tolist()


def _rounded(row: Row) -> int:
    return -(-len(row.input_ids) // STEP) * STEP


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Ids and labels on the model's device; features go there when they are projected."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
