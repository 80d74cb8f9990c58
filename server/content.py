"""The content parts of a request: read, checked and brought into the two forms the engine needs.

Pictures become `{"type": "image_url", "image_url": {"url": ...}}` and sounds `{"type": "audio_url", ...}`, whatever
part they came in (`input_image`, `input_audio`, `file`, `input_file`, ...). Everything else of a part goes: `detail`
has no meaning for a model with a fixed number of tokens a medium, and a client's `uuid` must not become a key of
shared caches. What a file holds is decided by its bytes, never by its name or declared type.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from model.errors import MediaError
from model.prompt import TEXT_PARTS
from server.errors import ApiError, RefusedError
from server.metrics.media import refused
from server.resolvers import FILE_SCHEME, address, resolver_of

OTHER_TEXT = ("refusal", "thinking", "tool_reference", "reasoning_text", "summary_text")
KNOWN = ("text", "image_url", "input_audio", "audio_url", "file")
# Part type -> modality; None where the bytes decide.
MEDIA = {
    "image_url": "image",
    "input_image": "image",
    "audio_url": "audio",
    "input_audio": "audio",
    "file": None,
    "input_file": None,
}
# Messages and parts of one conversation: each costs the engine a check, and tens of thousands of them minutes.
MAX_PARTS = 4096
_URL_FORM = '{"url": "data:<type>;base64,<bytes>"}'
_FORMS = {
    "input_audio": '{"data": "<base64>", "format": "wav"}',
    "file": '{"file_id": ...} or {"file_data": "data:<type>;base64,<bytes>"}',
    "input_file": "file_id, file_url or file_data",
    "input_image": "image_url or file_id",
}


@dataclass(frozen=True)
class Part:
    """One content part of a request."""

    path: str
    """Such as `messages[0].content[1]`."""
    modality: str | None = None
    """`image` or `audio`; None for text."""
    url: str | None = None
    """What the media connector is given for it."""


async def normalise(items: object, key: str) -> list[Part]:
    """Rewrite the parts of messages (or of Responses items) in place and list them in reading order.

    Args:
        items: the value of `key` in the body; anything but a list of mappings is left to the engine's own validation.
        key: `messages` or `input`, the beginning of the paths.

    Raises:
        RefusedError: a part that is of no known type or form, `param` is its path; or too many of them.
    """
    parts: list[Part] = []
    holders = list(_holders(items, key))
    count = sum(len(holder[field]) for _, holder, field in holders) + (len(items) if isinstance(items, list) else 0)
    if count > MAX_PARTS:
        message = (
            f"{key}: {count} messages and content parts, at most {MAX_PARTS} are accepted; join texts or leave some out"
        )
        raise RefusedError(ApiError(status=400, message=message, param=key, code="too_many_parts"))
    for path, holder, field in holders:
        content: Sequence[Any] = holder[field]
        rewritten = []
        for index, value in enumerate(content):
            part, value = await _read(f"{path}[{index}]", value)
            parts.append(part)
            rewritten.append(value)
        holder[field] = rewritten
    return parts


def nth(parts: Sequence[Part], modality: str, index: int) -> Part | None:
    """The `index`-th medium of a modality over all messages."""
    found = [part for part in parts if part.modality == modality]
    return found[index] if index < len(found) else None


def _holders(items: object, key: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every list of parts: its path, what holds it, and under which key."""
    for index, item in enumerate(items if isinstance(items, list) else ()):
        # What a tool gave back is `output` in the Responses API.
        for field in ("content", "output"):
            if isinstance(item, dict) and isinstance(item.get(field), list):
                yield f"{key}[{index}].{field}", item, field


async def _read(path: str, part: Any) -> tuple[Part, Any]:
    if isinstance(part, str):
        return Part(path), part
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise _bad(path, f"a content part needs a type, one of {', '.join(KNOWN)}")
    if kind in TEXT_PARTS:
        if not isinstance(part.get("text"), str):
            raise _bad(path, "the text must be a string")
        return Part(path), part
    if kind in OTHER_TEXT:
        return Part(path), part
    if kind not in MEDIA:
        raise _bad(path, f"unknown part type {kind[:40]!r}; known are {', '.join(KNOWN)}")
    url = _url(kind, part)
    if url is None:
        refused(MEDIA[kind], None)
        raise _bad(path, f"{kind} needs {_FORMS.get(kind, _URL_FORM)}")
    try:
        modality = MEDIA[kind] or await resolver_of(url).modality(url)
    except MediaError as error:
        refused(MEDIA[kind], url)
        raise RefusedError(ApiError(status=400, message=f"{path}: {error}", param=path, code=error.code)) from None
    name = f"{modality}_url"
    return Part(path, modality, url), {"type": name, name: {"url": url}}


def _url(kind: str, part: dict[str, Any]) -> str | None:
    """Where the bytes of a media part are, or None if it does not say."""
    if kind == "input_file":
        value: Any = part
    else:
        value = part.get(kind, part.get("image_url") if kind == "input_image" else None)
        if value is None:
            value = part
    if isinstance(value, str):
        return address(value)
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("file_id"), str):
        # Whatever it looks like, it is no address.
        return f"{FILE_SCHEME}:{value['file_id']}"
    for field in ("url", "file_url"):
        if isinstance(value.get(field), str):
            return address(str(value[field]))
    for field in ("data", "file_data"):
        data = value.get(field)
        if isinstance(data, str):
            return data if data.startswith("data:") else f"data:;base64,{data}"
    return None


def _bad(path: str, problem: str) -> RefusedError:
    return RefusedError(ApiError(status=400, message=f"{path}: {problem}", param=path, code="invalid_part"))
