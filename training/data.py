"""Training samples: JSON lines of API messages, read with every problem named by file and line.

    {"id": "...", "messages": [...], "meta": {"task": "...", "language": "en", "label": "..."}}

`messages` are what the API takes; media are `image_url`/`audio_url` parts whose URL is a path relative to the file, or
`features.safetensors#ROW` for features that are already computed. `meta.label` marks a closed-set task.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from model.errors import DataError, QuartetError
from model.prompt import media_parts

KEYS = {"id", "messages", "meta"}
ROLES = ("system", "user", "assistant")
# Files of features end like this and hold one tensor of this name, [rows, length, dim].
FEATURES_SUFFIX, FEATURES = ".safetensors", "features"


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

    @property
    def task(self) -> str:
        """Name that groups samples in scores."""
        return str(self.meta.get("task", "default"))

    @property
    def answer(self) -> str:
        """Text of the last assistant turn."""
        return str(self.messages[-1]["content"])


def read_samples(path: Path) -> list[Sample]:
    """Read and check one JSONL file.

    Raises:
        DataError: the first unusable line, by file and line number; or a file without any.
    """
    samples = list(iter_samples(path))
    if not samples:
        raise DataError(f"{path}: holds no samples")
    return samples


def iter_samples(path: Path) -> Iterator[Sample]:
    """Like `read_samples`, one at a time; blank lines are skipped."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    seen: dict[str, int] = {}
    with file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                sample = parse_sample(json.loads(line), path.parent)
            except QuartetError as error:
                raise DataError(f"{where}: {error}") from None
            # A bad encoding is a ValueError too.
            except ValueError as error:
                raise DataError(f"{where}: not valid JSON ({error})") from None
            if sample.id in seen:
                raise DataError(f"{where}: id {sample.id!r} appears twice, first in line {seen[sample.id]}")
            seen[sample.id] = number
            yield sample


def parse_sample(values: object, folder: Path) -> Sample:
    """Check one decoded line; media paths are resolved against `folder` and must exist.

    Raises:
        DataError, PromptError: what is wrong, by its path in the line, such as `messages[0].content[1]`.
    """
    if not isinstance(values, Mapping):
        raise DataError("expected a JSON object")
    unknown = sorted(set(values) - KEYS)
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(KEYS))}")
    name, meta = values.get("id"), values.get("meta", {})
    if not isinstance(name, str) or not name:
        raise DataError(f"id: expected a text that is not empty, got {name!r}")
    if not isinstance(meta, Mapping):
        raise DataError(f"meta: expected a JSON object, got {meta!r}")
    messages = values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError("messages: expected a list of at least one message")
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    if messages[-1]["role"] != "assistant":
        raise DataError("messages: the last turn must be the assistant's")
    media = [_reference(where, modality, part, folder) for where, modality, part in media_parts(messages)]
    return Sample(id=name, messages=messages, media=media, meta=dict(meta))


def join_turns(samples: Sequence[Sample]) -> Sample:
    """One conversation that asks the samples' questions one after the other."""
    return Sample(
        id="+".join(sample.id for sample in samples),
        messages=[message for sample in samples for message in sample.messages],
        media=[reference for sample in samples for reference in sample.media],
        meta=samples[0].meta,
    )


def _check_message(where: str, message: object) -> None:
    if not isinstance(message, Mapping) or message.get("role") not in ROLES:
        raise DataError(f"{where}.role: expected one of {', '.join(ROLES)}")
    content = message.get("content")
    if message["role"] == "assistant" and not (isinstance(content, str) and content.strip()):
        raise DataError(f"{where}.content: an assistant turn must be text and not empty")
    if content is None:
        raise DataError(f"{where}.content: missing; give a text or a list of parts")


def _reference(where: str, modality: str, part: Mapping[str, Any], folder: Path) -> MediaRef:
    holder = part.get(str(part["type"]))
    url = holder.get("url") if isinstance(holder, Mapping) else None
    if not isinstance(url, str):
        raise DataError(f"{where}: expected {{'{part['type']}': {{'url': 'path'}}}}")
    if url.startswith(("data:", "http:", "https:")):
        raise DataError(f"{where}: {url[:32]!r} is not a file; give a path relative to this file")
    # Only in names of feature files: a picture may well be called `c#1.png`.
    name, mark, row = url.rpartition("#")
    if not mark or not name.endswith(FEATURES_SUFFIX):
        name, row = url, ""
    path = (folder / name).resolve()
    if not path.is_file():
        raise DataError(f"{where}: {path} does not exist")
    if path.suffix != FEATURES_SUFFIX:
        return MediaRef(modality, path)
    rows = feature_shape(path, path.stat().st_mtime_ns)[0]
    if not row.isdecimal() or int(row) >= rows:
        raise DataError(f"{where}: {url!r} names no row of {path}, which has {rows}; write {path.name}#ROW from 0 on")
    return MediaRef(modality, path, int(row))


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
