"""Where a content part is in a request: `messages[0].content[1]`, for messages about it.

Only used after something failed. The happy path never parses a request twice.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from model.prompt import MEDIA_PARTS, TEXT_PARTS

# Part types the engine parses although no request to this server may hold them.
FOREIGN_PARTS = {
    "video_url": "video",
    "video_embeds": "video",
    "image_embeds": None,
    "audio_embeds": None,
    "image_pil": None,
}
OTHER_TEXT = ("refusal", "thinking", "tool_reference")
KNOWN = ("text", "image_url", "input_audio", "audio_url")


@dataclass(frozen=True)
class Part:
    """One content part of a request."""

    path: str
    """Such as `messages[0].content[1]`."""
    modality: str | None
    """`image`, `audio`, ...; None for text and for unknown types."""
    url: str | None
    """What the media connector is given for it."""
    problem: str | None
    """Why no server could read this part, if so."""


def parse_body(body: bytes) -> Mapping[str, Any]:
    """The request as a mapping, empty if it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def parts(request: Mapping[str, Any]) -> Iterator[Part]:
    """Every content part in reading order, of chat completions (`messages`) and of responses (`input`)."""
    key = "messages" if "messages" in request else "input"
    messages = request.get(key)
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        content = message.get("content") if isinstance(message, dict) else None
        for position, part in enumerate(content if isinstance(content, list) else []):
            yield _part(f"{key}[{index}].content[{position}]", part)


def nth(request: Mapping[str, Any], modality: str, index: int) -> Part | None:
    """The `index`-th medium of a modality over all messages."""
    found = [part for part in parts(request) if part.modality == modality]
    return found[index] if index < len(found) else None


def _part(path: str, part: Any) -> Part:
    if isinstance(part, str):
        return Part(path, None, None, None)
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return Part(path, None, None, f"a content part needs a type, one of {', '.join(KNOWN)}")
    if kind in TEXT_PARTS or kind in OTHER_TEXT:
        text = part.get("text", "") if kind in TEXT_PARTS else ""
        return Part(path, None, None, None if isinstance(text, str) else "the text must be a string")
    if kind in FOREIGN_PARTS:
        return Part(path, FOREIGN_PARTS[kind], None, f"{kind} parts are not accepted; known are {', '.join(KNOWN)}")
    modality = MEDIA_PARTS.get(kind)
    if modality is None:
        return Part(path, None, None, f"unknown part type {kind[:40]!r}; known are {', '.join(KNOWN)}")
    url = _url(kind, part.get(kind, part.get("image_url") if kind == "input_image" else None))
    needs = '{"data": ..., "format": ...}' if kind == "input_audio" else '{"url": "data:<type>;base64,<bytes>"}'
    return Part(path, modality, url, None if url else f"{kind} needs {needs}")


def _url(kind: str, value: Any) -> str | None:
    """The URL of a media part, as the engine hands it to the media connector."""
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        return None
    if kind == "input_audio":
        data = value.get("data")
        return f"data:audio/{value.get('format', '')};base64,{data}" if isinstance(data, str) else None
    url = value.get("url")
    return url if isinstance(url, str) else None
