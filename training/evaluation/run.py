"""One evaluation: held-out samples of a corpus, the controls, a backend that answers, files with the results."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from model.checkpoint import Checkpoint
from model.errors import DataError
from model.prompt import Prompt
from training.data import Sample, iter_samples
from training.evaluation.caches import Caches
from training.evaluation.ceilings import ceilings, chance
from training.evaluation.local import CheckpointBackend
from training.evaluation.meteor import Meteor
from training.evaluation.questions import Backend
from training.evaluation.remote import ServerBackend
from training.evaluation.report import Results
from training.evaluation.scoring import Record, check, record
from training.evaluation.statistics import CONFIDENCE, RESAMPLES
from training.evaluation.variants import RIGHT, variants

SEED = 0
"""Of the choice of samples and of the shuffled media."""
MAX_TOKENS = 32
"""Longest answer; what S3 generates (papers: NLDB 2024)."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is evaluated on, and where the results go."""

    corpus: Path
    """Folder with `<source>/test.jsonl`."""
    output: Path
    """Folder for the results."""
    probes: Path | None = None
    """Corpus whose `train.jsonl` files the ceilings are fitted on, by default the same."""
    limit: int | None = None
    """Most samples per task."""
    controls: int | None = None
    """Most of them that are asked again without their media and with others', by default all."""
    max_tokens: int = MAX_TOKENS
    """Longest answer, tokens."""
    records: Path | None = None
    """JSON lines, one per sample and control: what was asked for, what was answered, how it scored."""

    def tasks(self) -> dict[str, list[Sample]]:
        """The held-out samples by task, at most `limit` of each, drawn by a fixed seed.

        Raises:
            DataError: no test files, an unusable line, or a benchmark's sample that cannot be scored.
        """
        paths = sorted(self.corpus.glob("*/test.jsonl"))
        if not paths:
            raise DataError(
                f"{self.corpus}: holds no <source>/test.jsonl; build it with `quartet data build {self.corpus}`"
            )
        found: dict[str, list[Sample]] = {}
        for path in paths:
            for sample in iter_samples(path):
                check(sample)
                found.setdefault(sample.task, []).append(sample)
        return {task: self._choose(found[task]) for task in sorted(found)}

    def _choose(self, samples: list[Sample]) -> list[Sample]:
        return random.Random(SEED).sample(samples, min(self.limit or len(samples), len(samples)))


def evaluate_checkpoint(
    directory: Path, evaluation: Evaluation, *, generate: bool = True, dtype: torch.dtype = torch.bfloat16
) -> str:
    """Score a checkpoint in the transformers reference, on an accelerator where there is one.

    Args:
        directory: the checkpoint.
        evaluation: on what.
        generate: also generate answers; without, only what teacher forcing tells: exactness and perplexity.
        dtype: of the language model.

    Returns:
        The Markdown table.

    Raises:
        DataError: no test files, or a sample or medium that is unusable.
    """
    checkpoint = Checkpoint.open(directory)
    tasks = evaluation.tasks()
    caches = Caches(checkpoint)
    caches.ensure([sample for samples in tasks.values() for sample in samples])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backend = CheckpointBackend(
        checkpoint.load(dtype).to(device),
        Prompt(checkpoint.tokenizer(), checkpoint.config),
        caches.by_modality,
        max_tokens=evaluation.max_tokens,
        generate=generate,
        description=f"{directory.name} (transformers, {str(dtype).removeprefix('torch.')})",
    )
    return _evaluate(backend, evaluation, tasks, caches)


def evaluate_server(
    url: str,
    evaluation: Evaluation,
    *,
    model: str | None = None,
    key: str = "none",
    concurrency: int = 8,
    encoders: Path | None = None,
) -> str:
    """Score what a server answers.

    Args:
        url: of the API, with `/v1`.
        evaluation: on what.
        model: its id, the server's first by default.
        key: API key.
        concurrency: requests at a time.
        encoders: checkpoint whose frozen encoders the ceilings are measured with; without, there are none.

    Returns:
        The Markdown table.

    Raises:
        ServerError: the server cannot be reached or does not let us in.
        DataError: no test files, or an unusable sample.
    """
    caches = Caches(Checkpoint.open(encoders)) if encoders else None
    tasks = evaluation.tasks()
    backend = ServerBackend(url, model=model, key=key, max_tokens=evaluation.max_tokens, concurrency=concurrency)
    return _evaluate(backend, evaluation, tasks, caches)


def _evaluate(
    backend: Backend, evaluation: Evaluation, tasks: Mapping[str, Sequence[Sample]], caches: Caches | None
) -> str:
    corpus = evaluation.probes or evaluation.corpus
    found = ceilings(tasks, corpus, caches.pool) if caches else {}
    meteor = Meteor()
    records: list[Record] = []
    for task, samples in tqdm(tasks.items(), desc="tasks", leave=False):
        kinds = [frozenset(reference.modality for reference in sample.media) for sample in samples]
        for variant, asked in variants(samples, seed=SEED).items():
            # In random order, as they were chosen.
            asked = asked if variant == RIGHT else asked[: evaluation.controls]
            replies = backend.reply(asked, f"{task} {variant}")
            scored = zip(asked, replies, kinds[: len(asked)], strict=True)
            records += [record(sample, variant, given, kind, meteor) for sample, given, kind in scored]
    facts: dict[str, Any] = {
        "model": backend.description,
        "corpus": evaluation.corpus.name,
        "limit per task": evaluation.limit,
        "controls per task": evaluation.controls,
        "seed": SEED,
        "longest answer, tokens": evaluation.max_tokens,
        "METEOR aligns words by": meteor.modules,
        "intervals": f"{CONFIDENCE:.0%}, Wilson for proportions, otherwise {RESAMPLES} bootstrap resamples",
    }
    if evaluation.records:
        evaluation.records.parent.mkdir(parents=True, exist_ok=True)
        with evaluation.records.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(r.line(), ensure_ascii=False) + "\n" for r in records)
    chances = {task: chance(samples) for task, samples in tasks.items()}
    return Results.of(records, facts, found, chances).write(evaluation.output)
