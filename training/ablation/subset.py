"""The part of a corpus that a trial trains on and is asked about, as a corpus of its own.

Samples are ordered by a hash of seed and id, and a share takes the first of each task: a smaller share is a part of
every larger one with the same seed, and the test samples are the same in every trial.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.errors import DataError
from model.prompt import MEDIA_PARTS
from model.sources import sha256_of
from training.data import Sample, read_samples
from training.parts import train_file

TEST = "test.jsonl"


@dataclass(frozen=True)
class Subset:
    """Which samples."""

    sources: list[str]
    tasks: list[str]
    """Only these; all where there are none."""
    samples: int | None
    """Most per task, of which the share is taken."""
    share: float
    test: int | None
    """Most test samples per task."""
    seed: int = 0

    def values(self) -> dict[str, Any]:
        """As it is written down."""
        return asdict(self)

    def write_training(self, corpus: Path, folder: Path) -> int:
        """Write `folder/<source>/train.jsonl`, media referred to where they are; returns how many samples it holds.

        Raises:
            DataError: an unusable line, or a source without a sample of these tasks.
        """
        total = 0
        for source in self.sources:
            chosen = self._choose(read_samples(train_file(corpus, source)), self.samples, self.share, self.seed)
            if not chosen:
                raise DataError(f"{train_file(corpus, source)}: has no sample of {', '.join(self.tasks)}")
            _write(chosen, corpus / source, train_file(folder, source))
            total += len(chosen)
        return total

    def write_test(self, corpus: Path, folder: Path) -> None:
        """Write `folder/<source>/test.jsonl`.

        Raises:
            DataError: an unusable line, or none of the tasks has a test sample.
        """
        found = 0
        for source in self.sources:
            path = corpus / source / TEST
            if path.is_file():
                chosen = self._choose(read_samples(path), self.test, 1.0, 0)
                found += len(chosen)
                if chosen:
                    _write(chosen, corpus / source, folder / source / TEST)
        if not found:
            raise DataError(f"{corpus}: no {TEST} of {', '.join(self.sources)} has a sample of the sweep's tasks")

    def _choose(self, samples: Iterable[Sample], most: int | None, share: float, seed: int) -> list[Sample]:
        """The first samples of each task by hash, in the order of the file."""
        tasks: dict[str, list[Sample]] = {}
        for sample in samples:
            if not self.tasks or sample.task in self.tasks:
                tasks.setdefault(sample.task, []).append(sample)
        chosen: list[Sample] = []
        for members in tasks.values():
            order = sorted(members, key=lambda s: hashlib.sha256(f"{seed}/{s.id}".encode()).digest())
            whole = min(most or len(order), len(order))
            kept = {sample.id for sample in order[: max(1, round(share * whole))]}
            chosen += [sample for sample in members if sample.id in kept]
        return chosen


def corpus_hash(corpus: Path, sources: Iterable[str]) -> str:
    """One hash of the samples of these sources.

    Raises:
        DataError: a source that is missing.
    """
    found: Counter[str] = Counter()
    for source in sorted(set(sources)):
        path = train_file(corpus, source)
        if not path.is_file():
            raise DataError(f"{path} does not exist; build the corpus with `quartet data build`")
        test = path.with_name(TEST)
        found[f"{source} {sha256_of(path)} {sha256_of(test) if test.is_file() else ''}"] += 1
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _write(samples: Iterable[Sample], origin: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (
        {"id": s.id, "messages": [_moved(m, origin, path.parent) for m in s.messages], "meta": s.meta} for s in samples
    )
    # In one go, or a run that was killed meanwhile leaves half a corpus that looks whole.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    partial.replace(path)


def _moved(message: Mapping[str, Any], origin: Path, folder: Path) -> dict[str, Any]:
    """A message whose media are relative to another folder."""
    content = message["content"]
    if not isinstance(content, list):
        return dict(message)
    start, end = str(origin.resolve()), str(folder.resolve())
    parts = []
    for part in content:
        kind = part["type"]
        if kind in MEDIA_PARTS:
            url = os.path.relpath(os.path.join(start, part[kind]["url"]), end)
            part = {**part, kind: {**part[kind], "url": url}}
        parts.append(part)
    return {**message, "content": parts}
