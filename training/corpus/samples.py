"""Training samples: how one is made, what makes it valid, how a list of them is read and written.

A sample is one JSON line in the message format of the API::

    {"id": "scenes/train/000007",
     "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "media/a.png"}},
                                               {"type": "text", "text": "Which colour is it?"}]},
                  {"role": "assistant", "content": "red"}],
     "meta": {"task": "scenes/colour", "language": "en", "label": "red", "source": "scenes", "licence": "CC0-1.0"}}

``meta.label`` stands only on samples of closed-set tasks with one medium. It names the *class* in English, whatever
the language of the question, so that one probe serves both languages; the answer to compare with is always the
assistant's message. (In the speech tasks the class is the text that was spoken.) ``meta.licence`` is the licence of
the media in short; ``source.json`` beside the file says where they come from.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Sample = dict[str, Any]
Part = dict[str, Any]

LANGUAGES = ("en", "ms")


def image(url: str) -> Part:
    """The content part of a picture; ``url`` is a path relative to the JSONL file."""
    return {"type": "image_url", "image_url": {"url": url}}


def audio(url: str) -> Part:
    """The content part of a sound; ``url`` is a path relative to the JSONL file."""
    return {"type": "audio_url", "audio_url": {"url": url}}


def text(value: str) -> Part:
    """The content part of a text."""
    return {"type": "text", "text": value}


def user(*parts: Part) -> dict[str, Any]:
    """A user message of content parts, in the given order."""
    return {"role": "user", "content": list(parts)}


def answer(value: str) -> dict[str, Any]:
    """An assistant message."""
    return {"role": "assistant", "content": value}


def ask(rng: random.Random, question: str, medium: Part) -> dict[str, Any]:
    """A user message with one medium before (two in three) or after its question: the place must not matter."""
    parts = (medium, text(question)) if rng.random() < 2 / 3 else (text(question), medium)
    return user(*parts)


def sample(
    messages: Sequence[dict[str, Any]], *, task: str, language: str, source: str, licence: str, label: str | None = None
) -> Sample:
    """A sample without its id (the builder numbers the samples it keeps)."""
    meta = {"task": task, "language": language, "source": source, "licence": licence}
    if label is not None:
        meta["label"] = label
    return {"id": "", "messages": list(messages), "meta": meta}


def media(value: Sample) -> list[str]:
    """The media paths a sample names, in order of appearance."""
    found = []
    for message in value["messages"]:
        content = message["content"]
        for part in content if isinstance(content, list) else []:
            if part["type"] != "text":
                found.append(part[part["type"]]["url"])
    return found


def check(value: Sample) -> None:
    """Raise ValueError that names the sample and the fault if ``value`` is not a valid training sample."""

    def fail(fault: str) -> None:
        raise ValueError(f"sample {value.get('id', '?')!r}: {fault}")

    messages, meta = value.get("messages"), value.get("meta")
    if not isinstance(messages, list) or len(messages) < 2 or len(messages) % 2:
        raise ValueError(f"sample {value.get('id', '?')!r}: messages must be pairs of user and assistant turns")
    for index, message in enumerate(messages):
        role = "assistant" if index % 2 else "user"
        if message.get("role") != role:
            fail(f"messages[{index}].role must be {role!r}, got {message.get('role')!r}")
        content = message.get("content")
        if role == "assistant" and (not isinstance(content, str) or not content.strip()):
            fail(f"messages[{index}].content must be a text that is not empty")
        for place, part in enumerate(content if isinstance(content, list) else []):
            if part.get("type") not in ("text", "image_url", "audio_url"):
                fail(f"messages[{index}].content[{place}].type is {part.get('type')!r}")
    if not isinstance(meta, dict) or not {"task", "language", "source", "licence"} <= set(meta):
        raise ValueError(f"sample {value.get('id', '?')!r}: meta needs task, language, source and licence")
    if meta["language"] not in LANGUAGES:
        fail(f"meta.language must be one of {', '.join(LANGUAGES)}, got {meta['language']!r}")
    if not media(value):
        fail("no medium: every sample of a corpus shows or plays something")


def read(path: Path) -> list[Sample]:
    """The samples of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write(path: Path, values: Iterable[Sample]) -> str:
    """Write samples to a JSONL file, whole or not at all; gives its sha256."""
    data = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: under another name first, then renamed."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def seed(*key: object) -> int:
    """A 64-bit seed made of anything that has a stable text, the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "little")
