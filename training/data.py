"""Training samples: JSON lines of API messages, read with every problem named by file and line.

    {"id": "...", "messages": [...], "meta": {"task": "...", "language": "en", "label": "..."}}

`messages` are what the API takes; media are `image_url`/`audio_url` parts of user turns whose URL is a path relative to
the file, or `features.safetensors#ROW` for features that are already computed. `meta.label` marks a closed-set task.
`training.readers` makes such files from the public formats.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from model.errors import DataError, PromptError
from model.prompt import MEDIA_PARTS, media_parts
from training.problems import Kind, OnProblem, ProblemLog, SampleError, required_log

KEYS = {"id", "messages", "meta"}
ROLES = ("system", "user", "assistant")
# Files of features end like this and hold one tensor of this name, [rows, length, dim].
FEATURES_SUFFIX, FEATURES = ".safetensors", "features"
# Longest line read, bytes: a file without line breaks is named as such instead of filling the memory.
MAX_LINE = 64 << 20


@dataclass(frozen=True)
class MediaRef:
    """One medium of a sample: a file, or a row of a file of features."""

    modality: str
    path: Path
    row: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One checked conversation."""

    id: str
    messages: list[dict[str, Any]]
    media: list[MediaRef]
    """In reading order."""
    meta: dict[str, Any] = field(default_factory=dict)
    where: str = ""
    """`file:line` it was read from."""

    @property
    def task(self) -> str:
        """Name that groups samples in scores."""
        return str(self.meta.get("task", "default"))

    @property
    def answer(self) -> str:
        """Text of the last assistant turn."""
        return str(self.messages[-1]["content"])


class Ids:
    """Ids that must not appear twice, in one file or in all files of a mixture."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def add(self, name: str, where: str) -> None:
        """Remember an id and where it stands.

        Raises:
            SampleError: it stood somewhere before.
        """
        first = self._seen.setdefault(name, where)
        if first != where:
            file, _, line = first.rpartition(":")
            place = f"line {line}" if file == where.rpartition(":")[0] else first
            raise SampleError(Kind.DUPLICATE_ID, f"id {name!r} appears twice, first in {place}", where)


def read_sources(
    files: Mapping[str, Path],
    *,
    on_problem: Mapping[str, OnProblem] | None = None,
    problems: ProblemLog | None = None,
) -> dict[str, list[Sample]]:
    """Read the files of a mixture, by source; no id may appear in two of them.

    Args:
        files: source -> JSONL file.
        on_problem: policy of each source; `error` where none is given.
        problems: receives what `skip` leaves out.

    Raises:
        DataError: as `read_samples`.
    """
    ids, policies = Ids(), on_problem or {}
    return {
        source: read_samples(path, on_problem=policies.get(source, "error"), problems=problems, ids=ids)
        for source, path in files.items()
    }


def read_samples(
    path: Path,
    *,
    on_problem: OnProblem = "error",
    problems: ProblemLog | None = None,
    root: Path | None = None,
    ids: Ids | None = None,
) -> list[Sample]:
    """Read and check one JSONL file; the arguments are those of `iter_samples`.

    Raises:
        DataError: the first unusable line, by file and line number; or a file without any usable one.
    """
    before = problems.total if problems else 0
    samples = list(iter_samples(path, on_problem=on_problem, problems=problems, root=root, ids=ids))
    if not samples:
        skipped = problems.total - before if problems else 0
        raise DataError(f"{path}: holds no samples" + (f"; {skipped} were unusable" if skipped else ""))
    return samples


def iter_samples(
    path: Path,
    *,
    on_problem: OnProblem = "error",
    problems: ProblemLog | None = None,
    root: Path | None = None,
    ids: Ids | None = None,
) -> Iterator[Sample]:
    """Like `read_samples`, one at a time; blank lines are skipped.

    Args:
        path: the file.
        on_problem: `error` stops at the first unusable sample, `skip` leaves it out.
        problems: counts what is left out; `skip` needs one.
        root: if given, media must lie inside this folder.
        ids: ids of other files that must not appear here.
    """
    log, unique = required_log(on_problem, problems), ids or Ids()
    for where, line in iter_lines(path):
        try:
            try:
                values = parse_json(line)
            except SampleError as error:
                raise error.at(where) from None
            sample, errors = inspect_sample(values, path.parent, root=root, where=where)
            if sample is None:
                raise errors[0]
            unique.add(sample.id, where)
        except SampleError as error:
            log.settle(error, on_problem)
        else:
            yield sample


def iter_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The lines of a file that are not blank, each with its place `file:line`.

    Raises:
        DataError: the file cannot be read, or a line is longer than `MAX_LINE` bytes.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                if len(line) > MAX_LINE:
                    raise DataError(f"{path}:{number}: longer than {MAX_LINE >> 20} MiB; give one sample per line")
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def parse_json(text: bytes) -> Any:
    """Decode JSON from strangers.

    Raises:
        SampleError: no valid JSON in UTF-8, nested too deeply, or half a character.
    """
    try:
        values = json.loads(text, parse_constant=refuse_constant)
    except RecursionError:
        raise SampleError(Kind.SYNTAX, "not valid JSON (nested too deeply)") from None
    # A bad encoding is a ValueError too.
    except ValueError as error:
        raise SampleError(Kind.SYNTAX, f"not valid JSON ({error})") from None
    check_characters(text.decode(errors="replace"), values)
    return values


def refuse_constant(name: str) -> Any:
    """Refuse NaN and Infinity, which Python's decoder takes and others do not."""
    raise ValueError(f"{name} is no JSON number")


def check_characters(spelled: str, values: object) -> None:
    r"""Refuse decoded JSON with half a character, which no tokenizer takes; only a `\u` escape can spell one.

    Raises:
        SampleError: there is one.
    """
    if "\\u" in spelled:
        try:
            json.dumps(values, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise SampleError(Kind.SYNTAX, "not valid JSON (an escape spells half a character)") from None


def parse_sample(values: object, folder: Path, *, root: Path | None = None, where: str = "") -> Sample:
    """Check one decoded line; media paths are resolved against `folder` and must exist.

    Raises:
        SampleError: the first thing wrong, by its path in the line, such as `messages[0].content[1]`.
    """
    sample, errors = inspect_sample(values, folder, root=root, where=where)
    if sample is None:
        raise errors[0]
    return sample


def inspect_sample(
    values: object, folder: Path, *, root: Path | None = None, where: str = ""
) -> tuple[Sample | None, list[SampleError]]:
    """Like `parse_sample`, but finds everything that is wrong: a sample, or the errors that make it none."""
    try:
        name, messages, meta = _fields(values)
        parts = list(media_parts(messages))
    except SampleError as error:
        return None, [error.at(where)]
    except PromptError as error:
        return None, [SampleError(Kind.SHAPE, str(error), where)]
    errors = [error for index, message in enumerate(messages) for error in _message_errors(index, message)]
    if messages[-1]["role"] != "assistant":
        errors.append(SampleError(Kind.ROLE, "messages: the last turn must be the assistant's"))
    media = []
    for place, modality, part in parts:
        try:
            media.append(_reference(place, modality, part, folder, root))
        except SampleError as error:
            errors.append(error)
    if errors:
        return None, [error.at(where) for error in errors]
    return Sample(id=name, messages=messages, media=media, meta=dict(meta), where=where), []


def join_turns(samples: Sequence[Sample]) -> Sample:
    """One conversation that asks the samples' questions one after the other."""
    return Sample(
        id="+".join(sample.id for sample in samples),
        messages=[message for sample in samples for message in sample.messages],
        media=[reference for sample in samples for reference in sample.media],
        meta=samples[0].meta,
        where=samples[0].where,
    )


def _fields(values: object) -> tuple[str, list[dict[str, Any]], Mapping[str, Any]]:
    """The id, messages and meta of a line, of the right types."""
    if not isinstance(values, Mapping):
        raise SampleError(Kind.SHAPE, "expected a JSON object")
    unknown = sorted(set(values) - KEYS)
    if unknown:
        raise SampleError(Kind.SHAPE, f"unknown key {unknown[0]!r}; known are {', '.join(sorted(KEYS))}")
    name, meta, messages = values.get("id"), values.get("meta", {}), values.get("messages")
    if not isinstance(name, str) or not name:
        raise SampleError(Kind.SHAPE, f"id: expected a text that is not empty, got {name!r}")
    if not isinstance(meta, Mapping):
        raise SampleError(Kind.SHAPE, f"meta: expected a JSON object, got {meta!r}")
    if not isinstance(messages, list) or not messages:
        raise SampleError(Kind.SHAPE, "messages: expected a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise SampleError(Kind.ROLE, f"messages[{index}].role: expected one of {', '.join(ROLES)}")
    return name, messages, meta


def _message_errors(index: int, message: Mapping[str, Any]) -> Iterator[SampleError]:
    where, role, content = f"messages[{index}].content", message["role"], message.get("content")
    if role != "user" and isinstance(content, list) and any(part["type"] in MEDIA_PARTS for part in content):
        yield SampleError(Kind.MISPLACED, f"{where}: the {role}'s turn holds a medium; only the user's may")
    elif role == "assistant" and not (isinstance(content, str) and content.strip()):
        yield SampleError(Kind.EMPTY_ANSWER, f"{where}: an assistant turn must be text and not empty")
    elif content is None:
        yield SampleError(Kind.SHAPE, f"{where}: missing; give a text or a list of parts")


def _reference(where: str, modality: str, part: Mapping[str, Any], folder: Path, root: Path | None) -> MediaRef:
    holder = part.get(str(part["type"]))
    url = holder.get("url") if isinstance(holder, Mapping) else None
    if not isinstance(url, str):
        raise SampleError(Kind.SHAPE, f"{where}: expected {{'{part['type']}': {{'url': 'path'}}}}")
    if url.startswith(("data:", "http:", "https:")):
        raise SampleError(Kind.SHAPE, f"{where}: {url[:32]!r} is not a file; give a path relative to this file")
    # Only in names of feature files: a picture may well be called `c#1.png`.
    name, mark, row = url.rpartition("#")
    if not mark or not name.endswith(FEATURES_SUFFIX):
        name, row = url, ""
    if Path(name).is_absolute():
        raise SampleError(Kind.OUTSIDE, f"{where}: {name!r} is absolute; give a path relative to this file")
    path = find_file(folder / name, root, where)
    if path.suffix != FEATURES_SUFFIX:
        return MediaRef(modality, path)
    try:
        rows = feature_shape(path, path.stat().st_mtime_ns)[0]
    except DataError as error:
        raise SampleError(Kind.UNREADABLE, str(error)) from None
    if not row.isdecimal() or int(row) >= rows:
        raise SampleError(
            Kind.MISSING,
            f"{where}: {url!r} names no row of {path}, which has {rows}; write {path.name}#ROW from 0 on",
        )
    return MediaRef(modality, path, int(row))


def find_file(path: Path, root: Path | None, where: str) -> Path:
    """The resolved path of a medium; links count as what they lead to.

    Raises:
        SampleError: no such file, or outside `root`.
    """
    try:
        found, limit = path.resolve(), root and root.resolve()
        exists = found.is_file()
    # A name with a NUL byte, one that is too long, a loop of links.
    except (OSError, RuntimeError, ValueError) as error:
        raise SampleError(Kind.MISSING, f"{where}: {str(path)[:200]!r} cannot be a file ({error})") from None
    if limit is not None and not found.is_relative_to(limit):
        raise SampleError(Kind.OUTSIDE, f"{where}: {found} lies outside {limit}")
    if not exists:
        raise SampleError(Kind.MISSING, f"{where}: {found} does not exist")
    return found


@lru_cache(maxsize=64)
def feature_shape(path: Path, modified: int) -> tuple[int, ...]:
    """Shape `[rows, length, dim]` of a file of features; `modified` keeps an older answer from being given again.

    Raises:
        DataError: not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            shape = tuple(file.get_slice(FEATURES).get_shape())
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: holds no readable tensor {FEATURES!r} ({error})") from None
    if len(shape) != 3:
        raise DataError(f"{path}: {FEATURES!r} has shape {list(shape)}, expected [rows, length, dim]")
    return shape
