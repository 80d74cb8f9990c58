"""Training samples: JSON lines of API messages, read with every problem named by file and line.

    {"id": "...", "messages": [...], "meta": {"task": "...", "language": "en", "label": "..."}}

`messages` are what the API takes; media are `image_url`/`audio_url` parts whose URL is a path relative to the file, or
`features.safetensors#ROW` for features that are already computed. `meta.label` marks a closed-set task.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.errors import DataError, QuartetError
from model.prompt import media_parts

KEYS = {"id", "messages", "meta"}
ROLES = ("system", "user", "assistant")


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
        DataError: the first unusable line, by file and line number.
    """
    samples = list(iter_samples(path))
    if not samples:
        raise DataError(f"{path}: holds no samples")
    return samples


def iter_samples(path: Path) -> Iterator[Sample]:
    """Like `read_samples`, one at a time."""
    try:
        file = path.open(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    seen: set[str] = set()
    with file:
        for number, line in enumerate(file, start=1):
            where = f"{path}:{number}"
            try:
                sample = parse_sample(json.loads(line), path.parent)
            except QuartetError as error:
                raise DataError(f"{where}: {error}") from None
            except ValueError as error:
                raise DataError(f"{where}: not valid JSON ({error})") from None
            if sample.id in seen:
                raise DataError(f"{where}: id {sample.id!r} appears twice")
            seen.add(sample.id)
            yield sample


def parse_sample(values: object, folder: Path) -> Sample:
    """Check one decoded line; media paths are resolved against `folder` and must exist."""
    if not isinstance(values, Mapping):
        raise DataError("expected a JSON object")
    unknown = sorted(set(values) - KEYS)
    if unknown:
        raise DataError(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(KEYS))}")
    messages = values.get("messages")
    if not isinstance(messages, list) or not messages:
        raise DataError("messages: expected a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise DataError(f"messages[{index}].role: expected one of {', '.join(ROLES)}")
        if message["role"] == "assistant" and not (
            isinstance(message.get("content"), str) and message["content"].strip()
        ):
            raise DataError(f"messages[{index}].content: an assistant turn must be text and not empty")
    if messages[-1]["role"] != "assistant":
        raise DataError("messages: the last turn must be the assistant's")
    media = [_reference(where, modality, part, folder) for where, modality, part in media_parts(messages)]
    return Sample(id=str(values.get("id", "")), messages=messages, media=media, meta=dict(values.get("meta") or {}))


def _reference(where: str, modality: str, part: Mapping[str, Any], folder: Path) -> MediaRef:
    holder = part.get(str(part["type"]))
    url = holder.get("url") if isinstance(holder, Mapping) else None
    if not isinstance(url, str):
        raise DataError(f"{where}: expected {{'{part['type']}': {{'url': 'path'}}}}")
    name, _, row = url.partition("#")
    path = (folder / name).resolve()
    if not path.is_file():
        raise DataError(f"{where}: {path} does not exist")
    return MediaRef(modality, path, int(row) if row.isdigit() else None)


def join_turns(samples: Sequence[Sample]) -> Sample:
    """One conversation that asks the samples' questions one after the other."""
    return Sample(
        id="+".join(sample.id for sample in samples),
        messages=[message for sample in samples for message in sample.messages],
        media=[reference for sample in samples for reference in sample.media],
        meta=samples[0].meta,
    )
