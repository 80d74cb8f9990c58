"""Scores that keep a multimodal model honest.

Every held-out question is asked four times: with its medium, with none, with another sample's medium, and, for closed
sets, to a linear probe on the same frozen features, which is the ceiling of what the features hold. An answer is right
when every one of its tokens, the end token included, is the most probable one given those before it; that is exactly
when greedy decoding gives the answer word for word.
"""

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.checkpoint import Checkpoint
from model.errors import DataError
from model.prompt import IGNORE, MEDIA_PARTS, Prompt
from model.reference import QuartetForConditionalGeneration
from training.cache import FeatureCache
from training.data import MediaRef, Sample, read_samples
from training.dataset import Collator, Row, encode_row
from training.parts import encode_media, open_cache
from training.probe import fit_probe

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracies of one task, 0..1; None where a task has no such control."""

    task: str
    samples: int
    right: float
    none: float
    shuffled: float
    ceiling: float | None
    chance: float | None
    """Share of the most frequent label in the test set."""

    @property
    def ratio(self) -> float | None:
        """Accuracy as a share of the ceiling."""
        return self.right / self.ceiling if self.ceiling else None

    @property
    def interval(self) -> float:
        """Half of the 95 % interval of `right` (Wilson)."""
        n, z = self.samples, 1.96
        return z / (1 + z * z / n) * math.sqrt(self.right * (1 - self.right) / n + z * z / (4 * n * n))


def evaluate_checkpoint(
    directory: Path, corpus: Path, output: Path, *, probes: Path | None = None, limit: int | None = None
) -> str:
    """Score a checkpoint on every `<source>/test.jsonl` under `corpus`; write `scores.json` and `scores.md`.

    Args:
        directory: the checkpoint.
        corpus: folder with held-out samples.
        output: folder for the results.
        probes: corpus whose `train.jsonl` files the ceilings are fitted on, by default the same.
        limit: most samples per task.

    Returns:
        The Markdown table.

    Raises:
        DataError: no test files, by path.
    """
    checkpoint = Checkpoint.open(directory)
    paths = sorted(corpus.glob("*/test.jsonl"))
    if not paths:
        raise DataError(f"{corpus}: holds no <source>/test.jsonl; build it with `quartet data build {corpus}`")
    samples = [sample for path in paths for sample in read_samples(path)]
    model = checkpoint.load(torch.bfloat16)
    prompt = Prompt(checkpoint.tokenizer(), checkpoint.config)
    caches = _caches(checkpoint, samples)
    tasks: dict[str, list[Sample]] = {}
    for sample in samples:
        tasks.setdefault(sample.task, []).append(sample)
    scores = []
    for task, members in sorted(tasks.items()):
        chosen = random.Random(0).sample(members, min(limit or len(members), len(members)))
        ceiling = probe_ceiling(chosen, caches, probes or corpus)
        scores.append(score_task(model, prompt, caches, task, chosen, ceiling))
    output.mkdir(parents=True, exist_ok=True)
    values = [{**asdict(score), "ratio": score.ratio, "interval": score.interval} for score in scores]
    (output / "scores.json").write_text(json.dumps(values, indent=1) + "\n")
    table = markdown(scores)
    (output / "scores.md").write_text(table)
    return table


def score_task(
    model: QuartetForConditionalGeneration,
    prompt: Prompt,
    caches: Mapping[str, FeatureCache],
    task: str,
    samples: Sequence[Sample],
    ceiling: float | None = None,
) -> Score:
    """Accuracy of one task with the right medium, none, and a shuffled one."""
    variants: dict[str, Callable[[Sequence[Sample]], list[Sample]]] = {
        "right": list,
        "none": lambda group: [without_media(sample) for sample in group],
        "shuffled": lambda group: shuffle_media(group, seed=0),
    }
    found: dict[str, float] = {}
    for name, variant in variants.items():
        rows = [encode_row(prompt, sample) for sample in variant(samples)]
        found[name] = sum(exact(model, caches, rows, f"{task} {name}")) / len(rows)
    labels = [str(sample.meta["label"]) for sample in samples if "label" in sample.meta]
    chance = max(labels.count(label) for label in set(labels)) / len(labels) if labels else None
    return Score(task=task, samples=len(samples), ceiling=ceiling, chance=chance, **found)


@torch.inference_mode()
def exact(
    model: QuartetForConditionalGeneration, caches: Mapping[str, FeatureCache], rows: Sequence[Row], name: str = ""
) -> list[bool]:
    """For each row, whether greedy decoding gives every assistant turn word for word."""
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].input_ids))
    right = [False] * len(rows)
    lengths = sorted({-(-len(row.input_ids) // 8) * 8 for row in rows})
    collate = Collator(model.config, caches, lengths, pad=0)
    for start in tqdm(range(0, len(order), BATCH), desc=name, leave=False):
        part = order[start : start + BATCH]
        batch = collate([rows[index] for index in part])
        output = model(**batch)
        targets = batch["labels"][:, 1:]
        wanted = targets != IGNORE
        hits = output.logits.argmax(dim=-1) == targets[wanted]
        for index, row_hits in zip(part, hits.split(wanted.sum(dim=1).tolist()), strict=True):
            right[index] = bool(row_hits.all())
    return right


def probe_ceiling(samples: Sequence[Sample], caches: Mapping[str, FeatureCache], corpus: Path) -> float | None:
    """Accuracy of a linear probe on the frozen features, fitted on the training samples of the same task.

    None where the task is no closed set over one medium, or has no training samples.
    """
    task = str(samples[0].meta.get("probe", samples[0].task))
    path = corpus / task.split("/")[0] / "train.jsonl"
    if not all("label" in sample.meta and len(sample.media) == 1 for sample in samples) or not path.is_file():
        return None
    train = [sample for sample in read_samples(path) if sample.task == task]
    if len({sample.meta["label"] for sample in train}) < 2:
        return None
    cache = caches[samples[0].media[0].modality]
    fitted = fit_probe(_pooled(cache, train), [str(sample.meta["label"]) for sample in train])
    return fitted.accuracy(_pooled(cache, samples), [str(sample.meta["label"]) for sample in samples])


def without_media(sample: Sample) -> Sample:
    """The same question, its media left out."""
    messages = []
    for message in sample.messages:
        content = message["content"]
        if isinstance(content, list):
            content = [part for part in content if part["type"] not in MEDIA_PARTS]
        messages.append({**message, "content": content})
    return Sample(id=sample.id, messages=messages, media=[], meta=sample.meta)


def shuffle_media(samples: Sequence[Sample], *, seed: int) -> list[Sample]:
    """The same questions, each with the media of another sample of the task (a rotation, so never its own)."""
    order = list(range(len(samples)))
    random.Random(seed).shuffle(order)
    pools: dict[str, list[MediaRef]] = {}
    for index in order:
        for reference in samples[index].media:
            pools.setdefault(reference.modality, []).append(reference)
    # Rotating by half the pool keeps a sample clear of its own media, which stand next to each other.
    rotated = {name: pool[len(pool) // 2 :] + pool[: len(pool) // 2] for name, pool in pools.items()}
    taken = dict.fromkeys(pools, 0)
    shuffled: dict[int, Sample] = {}
    for index in order:
        media = []
        for reference in samples[index].media:
            media.append(rotated[reference.modality][taken[reference.modality]])
            taken[reference.modality] += 1
        sample = samples[index]
        shuffled[index] = Sample(id=sample.id, messages=sample.messages, media=media, meta=sample.meta)
    return [shuffled[index] for index in range(len(samples))]


def markdown(scores: Sequence[Score]) -> str:
    """A table of scores, percent."""
    header = ("task", "samples", "right medium", "no medium", "shuffled", "ceiling", "right / ceiling", "largest class")
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for s in scores:
        cells = [s.task, str(s.samples), f"{100 * s.right:.1f} ± {100 * s.interval:.1f}"]
        cells += [_percent(value) for value in (s.none, s.shuffled, s.ceiling)]
        cells += ["" if s.ratio is None else f"{s.ratio:.2f}", _percent(s.chance)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _pooled(cache: FeatureCache, samples: Sequence[Sample]) -> torch.Tensor:
    return cache.stack([sample.media[0] for sample in samples]).mean(dim=1)


def _caches(checkpoint: Checkpoint, samples: Sequence[Sample]) -> dict[str, FeatureCache]:
    caches: dict[str, FeatureCache] = {}
    for name, values in (checkpoint.config.modalities or {}).items():
        caches[name] = open_cache(values["encoder"], checkpoint.provenance.encoders[name].sha256)
        references: list[Any] = [ref for sample in samples for ref in sample.media if ref.modality == name]
        encode_media(caches[name], references, checkpoint.encoder_state(name))
    return caches
