"""Makes a source of dialogs: plans the jobs, has a generator write those not yet written, filters, writes the samples.

    <output>/train.jsonl        the samples, in the order of the plan; written whole at the end
    <output>/synthesis.journal  the outcome of every job, appended one by one: what a killed run leaves to the next
    <output>/synthesis.json     counts of what was kept and dropped, and the arguments

With templates the same inputs and seed give the same bytes. With a language model what was written once is kept, so a
run that is continued ends with the set that it would have ended with.
"""

import asyncio
import json
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from model.errors import DataError
from model.fields import check_range
from training.data import parse_sample
from training.synthesis.annotations import Medium
from training.synthesis.dialog import Draft, to_messages
from training.synthesis.endpoint import RejectedError, UnansweredError
from training.synthesis.filters import Rejection, check
from training.synthesis.gather import RULES, Pool, gather
from training.synthesis.jobs import Job, Request, digest, plan
from training.synthesis.journal import Journal, Outcome
from training.synthesis.languages import normalised
from training.synthesis.report import KindCounts, Report

SOURCE = "synthesis"
# So many requests in a row without an answer, each with its retries, mean that the endpoint is down.
_GIVE_UP = 8


class Generator(Protocol):
    """What writes dialogs: templates, or a language model."""

    model: str | None
    """Name of the language model, None for templates."""
    attempts: int
    """Times to ask for a job until the filters pass it."""

    def version(self, kind: str) -> str:
        """Name and version of what decides the words."""

    def instruction(self, kind: str) -> str:
        """What the generator is told and must not repeat."""

    def usable(self, kind: str, medium: Medium, language: str) -> bool:
        """Whether it can make a dialog of the kind from the medium in the language."""

    async def draft(self, job: Job, attempt: int) -> Draft:
        """Write the dialog of a job; may raise `RejectedError`, `UnansweredError` or a `QuartetError`."""


def synthesise(
    inputs: Sequence[Path],
    output: Path,
    *,
    generator: Generator,
    request: Request,
    rules: Sequence[tuple[str, str]] = RULES,
    split: str = "train",
    concurrency: int = 8,
    progress: bool = False,
) -> Report:
    """Make dialogs from the annotations of other samples and write them as a source of samples.

    Args:
        inputs: files of samples, or folders that hold `<split>.jsonl`.
        output: folder of the source; an unfinished one is continued.
        generator: what writes the dialogs.
        request: which ones.
        rules: which tasks' answers are captions, transcripts, names.
        split: name of the files, `train` or `test`.
        concurrency: requests at a time.
        progress: show a bar, where there is a terminal.

    Raises:
        DataError: an unusable input, or another run at work in `output`.
        EndpointError: the endpoint refuses what is asked.
    """
    check_range("concurrency", concurrency, 1, 1024)
    files = [path / f"{split}.jsonl" if path.is_dir() else path for path in inputs]
    target = output / f"{split}.jsonl"
    if target.resolve() in {file.resolve() for file in files}:
        raise DataError(f"{target}: is an input; give another --output")
    pool = gather(files, rules)
    planned = plan(pool, request, generator.usable, generator.version)
    with Journal(output / "synthesis.journal") as journal:
        reused = sum(job.id in journal.outcomes for job in planned.jobs)
        pending = [job for job in planned.jobs if job.id not in journal.outcomes]
        asyncio.run(_write_all(pending, generator, journal, concurrency, progress))
        report = Report(
            output=target,
            generator=generator.model or "templates",
            arguments=_arguments(files, output, request, split),
            samples_read=pool.samples,
            media_known=len(pool.media),
            reused=reused,
            skipped=pool.skipped + planned.skipped,
        )
        lines = list(_samples(planned.jobs, journal, generator, target, report))
        _replace(target, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        _replace(output / f"{SOURCE}.json", json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n")
    return report


async def _write_all(
    jobs: Sequence[Job], generator: Generator, journal: Journal, concurrency: int, progress: bool
) -> None:
    """Have all jobs written, `concurrency` at a time; ends early when the endpoint does not answer any more."""
    context: AbstractAsyncContextManager[Any] = (
        generator if isinstance(generator, AbstractAsyncContextManager) else nullcontext()
    )
    bar = tqdm(total=len(jobs), desc="dialogs", unit="dialog", disable=None if progress else True)
    queue = iter(jobs)
    silent = 0

    async def work() -> None:
        nonlocal silent
        for job in queue:
            if silent >= _GIVE_UP:
                return
            try:
                outcome = await _write(job, generator)
            except UnansweredError:
                silent += 1
            else:
                silent = 0
                journal.append(outcome)
            bar.update()

    async with context:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(jobs))):
                    group.create_task(work())
        except ExceptionGroup as errors:
            # One worker's error stops the others; which of them it was does not matter.
            raise errors.exceptions[0] from None
        finally:
            bar.close()


async def _write(job: Job, generator: Generator) -> Outcome:
    rejections: list[Rejection] = []
    for attempt in range(generator.attempts):
        try:
            draft = await generator.draft(job, attempt)
        except RejectedError as error:
            rejections.append(Rejection(error.reason, error.detail))
            continue
        rejection = check(draft.dialog, job, generator.instruction(job.kind))
        if rejection is None:
            return Outcome(job=job.id, draft=draft, rejections=tuple(rejections))
        rejections.append(rejection)
    return Outcome(job=job.id, draft=None, rejections=tuple(rejections))


def _samples(
    jobs: Sequence[Job], journal: Journal, generator: Generator, target: Path, report: Report
) -> Iterator[dict[str, Any]]:
    """The samples of all jobs that have a dialog, each only once; counts what becomes of every job."""
    seen: set[str] = set()
    used: set[str] = set()
    for job in jobs:
        counts = report.kinds.setdefault(job.kind, KindCounts())
        counts.planned += 1
        outcome = journal.outcomes.get(job.id)
        if outcome is None:
            counts.dropped["no-answer"] += 1
            continue
        if outcome.draft is None:
            counts.dropped[outcome.rejections[-1].reason] += 1
            counts.asked_again.update(each.reason for each in outcome.rejections[:-1])
            continue
        counts.asked_again.update(each.reason for each in outcome.rejections)
        texts = [normalised(text) for text in outcome.draft.dialog.texts]
        key = digest(sorted(job.digests), texts)
        if key in seen:
            counts.dropped["duplicate"] += 1
            continue
        seen.add(key)
        sample = _sample(job, outcome.draft, generator, target)
        parse_sample(sample, target.parent)  # as the trainer will
        counts.kept += 1
        report.languages[job.language] += 1
        used.update(job.digests)
        yield sample
    report.media_used = len(used)


def _sample(job: Job, draft: Draft, generator: Generator, target: Path) -> dict[str, Any]:
    media = {name: medium.reference for name, medium in zip(job.names, job.media, strict=True)}
    meta: dict[str, Any] = {
        "task": f"{SOURCE}/{job.kind}",
        "language": job.language,
        "source": SOURCE,
        "generator": "llm" if generator.model else "templates",
        "instruction": job.generator,
        "samples": job.samples,
        "seed": job.seed,
    }
    if generator.model:
        meta["model"] = generator.model
    else:
        meta["templates"] = list(draft.templates)
    if licences := sorted({licence for medium in job.media for licence in medium.licences}):
        meta["licence"] = " AND ".join(licences)
    rng: random.Random = job.rng("places")
    messages = to_messages(draft.dialog, media, target.parent, rng)
    return {"id": f"{SOURCE}/{job.kind}/{job.id}", "messages": messages, "meta": meta}


def _arguments(files: Sequence[Path], output: Path, request: Request, split: str) -> dict[str, Any]:
    return {
        # Relative: where they lay on this machine means nothing to who reads the file.
        "inputs": [Path(os.path.relpath(file, output)).as_posix() for file in files],
        "split": split,
        "kinds": list(request.kinds),
        "languages": list(request.languages),
        "count": request.count,
        "max_media": request.max_media,
        "seed": request.seed,
    }


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({error.strerror}); run again to continue") from None


__all__ = ["Generator", "Pool", "synthesise"]
