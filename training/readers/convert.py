"""Drafts of any reader -> a JSONL file that training reads, and the media beside it.

    <folder>/train.jsonl             one sample a line, media as paths relative to it
    <folder>/media/<sha256>.<type>   media that were inside the source, or that `copy` or `link` brings here
    <folder>/train.skipped.jsonl     every record that was left out, and why; only if there is one

The file appears whole or not at all. Every line is checked by the code that will read it, so a converted file is read
without a problem. Media are named by their content: the same picture twice is one file. Nothing is decoded here;
`quartet data check` does that.
"""

import hashlib
import io
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal, get_args

from tqdm import tqdm

from model.errors import DataError
from model.media import IMAGE_FORMATS, SOUND_FORMATS
from training.data import inspect_sample
from training.problems import Kind, OnProblem, ProblemLog, SampleError, required_log
from training.readers.base import Draft, Medium, Reader

Files = Literal["refer", "link", "copy"]
FILES: tuple[Files, ...] = get_args(Files)
MEDIA = "media"


@dataclass
class Conversion:
    """What was written."""

    output: Path
    samples: int = 0
    media: Counter[str] = field(default_factory=Counter)
    """Modality -> media in samples; one that is used twice counts twice."""
    left_out: list[str] = field(default_factory=list)
    """Columns that no JSON line can hold."""

    def lines(self) -> list[str]:
        """What to tell a person."""
        media = ", ".join(f"{count} {modality}" for modality, count in sorted(self.media.items())) or "no"
        lines = [f"{self.samples} samples with {media} media written to {self.output}"]
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
    on_problem: OnProblem = "error",
    problems: ProblemLog | None = None,
    meta: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Conversion:
    """Write the samples of a reader.

    Args:
        reader: the source.
        output: the JSONL file; its folder is made if missing.
        files: what happens to media that are files. `refer`: they stay where they are. `link`: hard links in `media/`,
            which take no room and outlive the originals. `copy`: copies in `media/`.
        on_problem: `error` stops at the first unusable record, `skip` leaves it out.
        problems: counts what is left out; `skip` needs one.
        meta: set on every sample, over what the source says.
        limit: at most this many samples.

    Raises:
        DataError: an unusable source or record, by file and line; nothing usable in it; or the output cannot be
            written.
    """
    writer = _Writer(output, files, meta or {})
    log = required_log(on_problem, problems)
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as stream:
            drafts = reader.read(on_problem=on_problem, problems=log)
            for draft in islice(tqdm(drafts, desc=f"convert {reader.name}", unit="sample", disable=None), limit):
                try:
                    writer.write(draft, stream)
                except SampleError as error:
                    log.settle(error.at(draft.where), on_problem)
        done = writer.done
        done.left_out = sorted(reader.left_out)
        if not done.samples:
            raise DataError(f"{reader.source}: holds no usable sample" + (f"; {log.total} left out" * bool(log.total)))
        partial.replace(output)
    except OSError as error:
        raise DataError(f"{error.filename or output}: cannot be written ({error.strerror})") from None
    finally:
        partial.unlink(missing_ok=True)
    return done


class _Writer:
    """Writes samples into one file, and media beside it."""

    def __init__(self, output: Path, files: Files, meta: Mapping[str, Any]) -> None:
        self.output, self.files, self.meta = output, files, meta
        self.done = Conversion(output)
        # Relative paths start at the real folder: `..` behind a link leads elsewhere than it seems.
        self.folder = output.parent.resolve()
        self.source, self.split = self.folder.name, output.stem

    def write(self, draft: Draft, stream: IO[str]) -> None:
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
        file, _, line = draft.where.rpartition(os.sep)
        origin = {"origin": line or file} | ({} if draft.id is None else {"origin_id": draft.id})
        values = {
            "id": f"{self.source}/{self.split}/{self.done.samples:06d}",
            "messages": messages,
            "meta": {"task": self.source, "source": self.source, **draft.meta, **origin, **self.meta},
        }
        sample, errors = inspect_sample(values, self.folder)
        if sample is None:
            raise errors[0]
        try:
            line = json.dumps(values, ensure_ascii=False)
            line.encode()
        except UnicodeEncodeError:
            raise SampleError(Kind.SYNTAX, "a text or the name of a file is not valid UTF-8") from None
        stream.write(line + "\n")
        self.done.samples += 1
        self.done.media.update(reference.modality for reference in sample.media)

    def _part(self, part: str | Medium) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        kind = f"{part.modality}_url"
        return {"type": kind, kind: {"url": self._place(part)}}

    def _place(self, medium: Medium) -> str:
        """The path of a medium as the sample names it; the file is there afterwards."""
        if medium.data is not None:
            name = hashlib.sha256(medium.data).hexdigest() + _suffix(medium)
            path = self.folder / MEDIA / name
            if not path.exists():
                _appear(path, medium.data)
            return f"{MEDIA}/{name}"
        assert medium.path is not None
        if self.files == "refer":
            return Path(os.path.relpath(medium.path, self.folder)).as_posix()
        try:
            with medium.path.open("rb") as file:
                name = hashlib.file_digest(file, "sha256").hexdigest() + medium.path.suffix.lower()
        except OSError as error:
            raise SampleError(Kind.UNREADABLE, f"{medium.path}: cannot be read ({error.strerror})") from None
        path = self.folder / MEDIA / name
        if not path.exists():
            source = medium.path
            if self.files == "copy":
                _appear(path, source)
            else:
                _link(source, path)
        return f"{MEDIA}/{name}"


def _suffix(medium: Medium) -> str:
    """The ending for bytes, by what they are.

    Raises:
        SampleError: neither a picture nor a sound that can be decoded.
    """
    assert medium.data is not None
    try:
        if medium.modality == "image":
            from PIL import Image

            with Image.open(io.BytesIO(medium.data), formats=IMAGE_FORMATS) as picture:
                return f".{(picture.format or '').lower()}"
        import soundfile

        with soundfile.SoundFile(io.BytesIO(medium.data)) as sound:
            if sound.format in SOUND_FORMATS:
                return f".{sound.format.lower()}"
    # Decoders raise many kinds of errors on hostile bytes; all of them mean the same here.
    except Exception as error:
        raise SampleError(Kind.UNREADABLE, f"the {medium.modality} is unreadable ({type(error).__name__})") from None
    raise SampleError(Kind.UNREADABLE, f"{sound.format} sounds are not decoded; convert them to WAV, FLAC, OGG or MP3")


def _link(source: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be linked to {source} ({error.strerror}); copy the media or refer to them instead"
        ) from None


def _appear(path: Path, content: bytes | Path) -> None:
    """Let a file with these bytes, or those of another file, appear whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    if isinstance(content, bytes):
        partial.write_bytes(content)
    else:
        shutil.copyfile(content, partial)
    partial.replace(path)
