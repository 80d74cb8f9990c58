"""Drafts of any reader -> files of samples that training reads, and the media beside them.

    <folder>/train.jsonl             one sample a line, media as paths relative to it
    <folder>/test.jsonl              samples that are held out, if any are asked for
    <folder>/media/<sha256>.<type>   media that were inside the source, or that `copy` or `link` brings here
    <folder>/train.skipped.jsonl     every record that was left out, and why; only if there is one

Files appear whole or not at all. Every line is checked by the code that will read it, so a converted file is read
without a problem. Nothing is decoded here; `quartet data check` does that.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from model.errors import DataError
from training.data import inspect_sample
from training.problems import Kind, OnProblem, ProblemLog, SampleError, required_log
from training.readers.base import Draft, Medium, Reader
from training.readers.media import Files, MediaFolder, content_hash

TEST = "test.jsonl"


@dataclass
class Written:
    """One file of samples."""

    path: Path
    samples: int = 0
    media: Counter[str] = field(default_factory=Counter)
    """Modality -> media in samples; one that is used twice counts twice."""

    def __str__(self) -> str:
        media = ", ".join(f"{count} {modality}" for modality, count in sorted(self.media.items())) or "no"
        return f"{self.samples} samples with {media} media written to {self.path}"


@dataclass(frozen=True)
class Conversion:
    """What was written."""

    files: list[Written]
    left_out: list[str]
    """Columns that no JSON line can hold."""

    def lines(self) -> list[str]:
        """What to tell a person."""
        lines = [str(written) for written in self.files]
        if self.left_out:
            lines.append(f"columns left out, because they hold no plain values: {', '.join(self.left_out)}")
        return lines


def skipped_file(output: Path) -> Path:
    """Where records that were left out are listed."""
    return output.with_name(f"{output.stem}.skipped.jsonl")


def convert(
    reader: Reader,
    output: Path,
    *,
    files: Files = "refer",
    test_share: float = 0.0,
    on_problem: OnProblem = "error",
    problems: ProblemLog | None = None,
    meta: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Conversion:
    """Write the samples of a reader.

    Args:
        reader: the source.
        output: the JSONL file; its folder is made if missing.
        files: what happens to media that are files, see `MediaFolder`.
        test_share: share of the media whose samples go to `test.jsonl` beside the output, so that no medium is in both.
            Which ones depends on their content alone: another conversion of the same media holds out the same.
        on_problem: `error` stops at the first unusable record, `skip` leaves it out.
        problems: counts what is left out; `skip` needs one.
        meta: set on every sample, over what the source says.
        limit: at most this many samples.

    Raises:
        DataError: an unusable source or record, by file and line; nothing usable in it; or the output cannot be
            written.
    """
    log = required_log(on_problem, problems)
    paths = [output, output.with_name(TEST)] if test_share else [output]
    if len(set(paths)) < len(paths):
        raise DataError(f"{output}: what is held out goes to {TEST}; give another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        media = MediaFolder(output.parent, files)
        with ExitStack() as stack:
            writers = [stack.enter_context(_Writer(path, media, meta or {})) for path in paths]
            drafts = reader.read(on_problem=on_problem, problems=log)
            for draft in islice(tqdm(drafts, desc=f"convert {reader.name}", unit="sample", disable=None), limit):
                try:
                    writers[is_held_out(draft, test_share)].write(draft)
                except SampleError as error:
                    log.settle(error.at(draft.where), on_problem)
            if not any(writer.written.samples for writer in writers):
                skipped = f"; {log.total} left out" if log.total else ""
                raise DataError(f"{reader.source}: holds no usable sample{skipped}")
            for writer in writers:
                writer.finish()
    except OSError as error:
        raise DataError(f"{error.filename or output}: cannot be written ({error.strerror})") from None
    return Conversion([writer.written for writer in writers], sorted(reader.left_out))


def is_held_out(draft: Draft, share: float) -> bool:
    """Whether a draft belongs to the test: its media do, or its text where it has none.

    Raises:
        SampleError: some of its media do and others do not.
    """
    if not share:
        return False
    media = [part for turn in draft.turns for part in turn.parts if isinstance(part, Medium)]
    texts = [Medium("text", data=turn.text.encode(errors="replace")) for turn in draft.turns if turn.role == "user"]
    sides = {int(content_hash(medium)[:16], 16) / 2**64 < share for medium in media or texts[:1]}
    if len(sides) > 1:
        raise SampleError(
            Kind.LEAK, "some of its media are held out and others are not; leave such samples out, or hold out none"
        )
    return sides.pop()


class _Writer:
    """Writes one file of samples, which is there once it is finished."""

    def __init__(self, path: Path, media: MediaFolder, meta: Mapping[str, Any]) -> None:
        self.media, self.meta, self.written = media, meta, Written(path)
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> Self:
        self._stream = self._partial.open("w", encoding="utf-8")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.close()
        self._partial.unlink(missing_ok=True)

    def finish(self) -> None:
        """Let the file appear."""
        self._stream.close()
        self._partial.replace(self.written.path)

    def write(self, draft: Draft) -> None:
        """Write one sample.

        Raises:
            SampleError: a medium that cannot be brought along, or a sample that could not be read again.
        """
        messages = []
        for turn in draft.turns:
            if any(isinstance(part, Medium) for part in turn.parts):
                content: Any = [self._part(part) for part in turn.parts]
            else:
                content = turn.text
            messages.append({"role": turn.role, "content": content})
        source, split = self.media.folder.name, self.written.path.stem
        # Names only: where the source lay on this machine means nothing elsewhere.
        origin = {"origin": draft.where.rpartition(os.sep)[2]} | ({} if draft.id is None else {"origin_id": draft.id})
        values = {
            "id": f"{source}/{split}/{self.written.samples:06d}",
            "messages": messages,
            "meta": {"task": source, "source": source, **draft.meta, **origin, **self.meta},
        }
        sample, errors = inspect_sample(values, self.media.folder)
        if sample is None:
            raise errors[0]
        try:
            line = json.dumps(values, ensure_ascii=False)
            line.encode()
        except UnicodeEncodeError:
            raise SampleError(Kind.SYNTAX, "a text or the name of a file is not valid UTF-8") from None
        self._stream.write(line + "\n")
        self.written.samples += 1
        self.written.media.update(reference.modality for reference in sample.media)

    def _part(self, part: str | Medium) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        kind = f"{part.modality}_url"
        return {"type": kind, kind: {"url": self.media.place(part)}}
