"""Builds the corpus: plans a source, picks the samples, renders their media in worker processes, writes the files.

A source appears under its name only when it is complete (it is made in ``.<source>.partial`` and renamed), an
interrupted build goes on with the media it already has, and a second run with the same arguments does nothing.
No medium of the test split has the bytes of one in the training split: such test samples are dropped and counted.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.corpus import samples
from training.corpus.registry import COMPOSED, SOURCES, VERSIONS, Context, Job, Plan, load

_INLINE = 24  # fewer media than this are not worth starting worker processes for


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """Counts of one source: samples, media files, samples per task as (train, test), what was skipped and why."""

    name: str
    made: bool
    train: int
    test: int
    media: int
    tasks: dict[str, tuple[int, int]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What a build left in ``output``; ``str(report)`` is a table for people."""

    output: Path
    sources: dict[str, SourceReport]

    def __str__(self) -> str:
        lines = [f"{'task':28} {'train':>7} {'test':>6}"]
        for report in self.sources.values():
            for task, (train, test) in sorted(report.tasks.items()):
                lines.append(f"{task:28} {train:7d} {test:6d}")
            state = "built" if report.made else "already there"
            skipped = "".join(f"; {count} {why}" for why, count in report.skipped.items())
            lines.append(f"= {report.name}: {report.train} + {report.test}, {report.media} media, {state}{skipped}")
        return "\n".join(lines)


def build(
    output: Path,
    *,
    sources: list[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
) -> BuildReport:
    """Build the corpus in ``output`` and say what is there.

    Args:
        output: folder of the corpus; made if missing. A source in it that was built with other arguments is replaced.
        sources: names to build (see ``SOURCES``), by default all. ``dialogs`` and ``pairs`` need the others.
        limit: at most so many training samples per source, and as many test samples; the tasks keep equal shares.
        seed: another seed gives another corpus of the same kind.
        cache: where downloaded packages are kept; by default in the user's cache (``$QUARTET_CACHE``).

    Raises:
        ValueError: an unknown source or an impossible limit.
        RuntimeError: a package or a program is missing; the message says what to install.
    """
    names = [name for name in SOURCES if sources is None or name in sources]
    for name in sources or []:
        load(name)
    if limit is not None and limit < 1:
        raise ValueError(f"limit: must be at least 1, got {limit}")
    output.mkdir(parents=True, exist_ok=True)
    if cache is None:
        from model.sources import cache_directory  # not at the top: naming the sources must stay cheap

        cache = cache_directory() / "packages"
    context = Context(output=output, cache=cache, seed=seed)
    return BuildReport(output=output, sources={name: _source(name, context, limit) for name in names})


def _source(name: str, context: Context, limit: int | None) -> SourceReport:
    final, partial = context.output / name, context.output / f".{name}.partial"
    arguments: dict[str, Any] = {"seed": context.seed, "limit": limit, "version": VERSIONS[name]}
    if name in COMPOSED:
        arguments["from"] = _fingerprints(context.output)
    known = _read_json(final / "source.json")
    if known and known.get("arguments") == arguments:
        return _report(name, known, made=False)

    plan = load(name)(context)
    chosen = {"train": _pick(plan.train, limit, context.seed), "test": _pick(plan.test, limit, context.seed)}
    if not chosen["train"]:
        raise RuntimeError(f"{name}: nothing to build; skipped: {plan.skipped or 'nothing'}")
    if _read_json(partial / "arguments.json") != arguments:
        shutil.rmtree(partial, ignore_errors=True)
    (partial / "media").mkdir(parents=True, exist_ok=True)
    samples.write_bytes(partial / "arguments.json", json.dumps(arguments).encode())

    digests = _render(name, plan, chosen, partial)
    seen = {digests[medium] for value in chosen["train"] for medium in samples.media(value) if medium in digests}
    clean = [
        value for value in chosen["test"] if not any(digests.get(medium) in seen for medium in samples.media(value))
    ]
    skipped = dict(plan.skipped)
    if len(clean) < len(chosen["test"]):
        skipped["test samples whose medium is also in train"] = len(chosen["test"]) - len(clean)
    chosen["test"] = clean

    hashes = {}
    for split, values in chosen.items():
        for index, value in enumerate(values):
            value["id"] = f"{name}/{split}/{index:06d}"
            samples.check(value)
        hashes[split] = samples.write(partial / f"{split}.jsonl", values)
    tasks: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for place, split in enumerate(chosen):
        for task, count in Counter(value["meta"]["task"] for value in chosen[split]).items():
            tasks[task][place] = count
    record = {
        "source": name,
        "arguments": arguments,
        "provenance": plan.provenance,
        "skipped": skipped,
        "samples": {split: len(values) for split, values in chosen.items()},
        "sha256": hashes,
        "media": len(digests),
        "tasks": tasks,
    }
    samples.write_bytes(partial / "source.json", json.dumps(record, indent=1, ensure_ascii=False).encode())
    (partial / "arguments.json").unlink()
    _replace(partial, final)
    return _report(name, record, made=True)


def _pick(values: list[samples.Sample], limit: int | None, seed: int) -> list[samples.Sample]:
    """Shuffle by the seed; with a limit, take from the tasks in turn until it is reached."""
    order = list(values)
    random.Random(samples.seed("pick", seed)).shuffle(order)
    if limit is None or len(order) <= limit:
        return order
    queues: dict[str, list[samples.Sample]] = defaultdict(list)
    for value in order:
        queues[value["meta"]["task"]].append(value)
    picked: list[samples.Sample] = []
    turn = 0
    while len(picked) < limit:
        for task in sorted(queues):
            if turn < len(queues[task]) and len(picked) < limit:
                picked.append(queues[task][turn])
        turn += 1
    return picked


def _render(name: str, plan: Plan, chosen: dict[str, list[samples.Sample]], folder: Path) -> dict[str, str]:
    """Make the media of the chosen samples that are not there yet; gives path -> sha256 of all of them."""
    wanted: dict[str, None] = {}
    for values in chosen.values():
        for value in values:
            wanted.update(dict.fromkeys(medium for medium in samples.media(value) if medium.startswith("media/")))
    tasks = [(folder / path, plan.jobs[path.removeprefix("media/")]) for path in wanted]
    return dict(zip(wanted, _progress(_work(tasks), total=len(tasks), name=name), strict=True))


def _work(tasks: list[tuple[Path, Job]]) -> Iterable[str]:
    if sum(not path.exists() for path, _ in tasks) < _INLINE:
        yield from map(_make, tasks)
        return
    workers = max(1, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        yield from pool.map(_make, tasks, chunksize=8)


def _make(task: tuple[Path, Job]) -> str:
    path, job = task
    if path.exists():
        data = path.read_bytes()
    else:
        data = job.render(**job.arguments)
        samples.write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def _progress(values: Iterable[str], *, total: int, name: str) -> Iterable[str]:
    from tqdm import tqdm  # a source that is already there needs no progress bar, and no import of one

    bar: Iterable[str] = tqdm(values, total=total, desc=f"{name}: media", unit="file", disable=None if total else True)
    return bar


def _replace(partial: Path, final: Path) -> None:
    old = final.with_name(f".{final.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if final.exists():
        os.replace(final, old)
    os.replace(partial, final)
    shutil.rmtree(old, ignore_errors=True)


def _fingerprints(output: Path) -> dict[str, Any]:
    return {
        name: (_read_json(output / name / "source.json") or {}).get("sha256")
        for name in SOURCES
        if name not in COMPOSED
    }


def _read_json(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _report(name: str, record: dict[str, Any], *, made: bool) -> SourceReport:
    return SourceReport(
        name=name,
        made=made,
        train=record["samples"]["train"],
        test=record["samples"]["test"],
        media=record["media"],
        tasks={task: (counts[0], counts[1]) for task, counts in record["tasks"].items()},
        skipped=record["skipped"],
    )
