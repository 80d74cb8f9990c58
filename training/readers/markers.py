"""Conversations in which a marker such as `<image>` stands where a medium belongs.

This is LLaVA's way to write them, and that of many tables on the Hugging Face hub: texts with markers, and the media in
lists beside them, in the order of their markers.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from training.problems import Kind, SampleError
from training.readers.base import Medium, Turn

MARKERS = {"<image>": "image", "<audio>": "audio"}
# Spellings of roles in public data.
ROLES = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "bot": "assistant",
    "system": "system",
}  # fmt: skip
# The line break between a marker and the text around it belongs to the marker: the prompt sets its own bounds.
_MARKER = re.compile(r"\n?({})\n?".format("|".join(map(re.escape, MARKERS))))

Texts = Sequence[tuple[str, Sequence[str]]]
"""Role and texts of each turn; a text that is exactly a marker stands for a medium."""


def place(turns: Texts, media: Iterable[Medium], *, lead: bool = False) -> list[Turn]:
    """Put media where their markers are.

    Args:
        turns: role and texts of each turn.
        media: in the order of their markers, per modality.
        lead: media without a single marker stand before the first text of the user.

    Raises:
        SampleError: a marker without a medium, a medium without a marker, or a marker outside user turns.
    """
    waiting: dict[str, list[Medium]] = {modality: [] for modality in MARKERS.values()}
    for medium in media:
        waiting[medium.modality].append(medium)
    given = {modality: len(members) for modality, members in waiting.items()}
    found = dict.fromkeys(given, 0)
    placed = []
    for index, (role, texts) in enumerate(turns):
        parts: list[str | Medium] = []
        for piece in (piece for text in texts for piece in _MARKER.split(text)):
            modality = MARKERS.get(piece)
            if modality is None:
                parts += [piece] if piece else []
                continue
            if role != "user":
                raise SampleError(
                    Kind.MISPLACED, f"turn {index + 1} is the {role}'s and holds {piece}; only the user's may"
                )
            found[modality] += 1
            parts += waiting[modality][:1]
            del waiting[modality][:1]
        placed.append(Turn(role, parts))
    if lead and not any(found.values()):
        first = next((index for index, turn in enumerate(placed) if turn.role == "user"), None)
        if first is not None:
            leading = [medium for members in waiting.values() for medium in members]
            placed[first] = Turn("user", [*leading, *placed[first].parts])
            return placed
    for marker, modality in MARKERS.items():
        if found[modality] != given[modality]:
            raise SampleError(
                Kind.MARKER, f"{found[modality]} markers {marker} for {given[modality]} media of kind {modality}"
            )
    return placed


def turns_of(values: object, key: str) -> Texts:
    """The turns of a list of `{"from", "value"}`, of `{"role", "content"}`, or of `{"user", "assistant"}` pairs.

    Raises:
        SampleError: neither of them, or a role that nobody knows.
    """
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not values:
        raise SampleError(Kind.SHAPE, f"{key}: expected a list of at least one turn, got {_short(values)}")
    turns: list[tuple[str, Sequence[str]]] = []
    for index, value in enumerate(values):
        where = f"{key}[{index}]"
        if not isinstance(value, Mapping):
            raise SampleError(Kind.SHAPE, f"{where}: expected an object, got {_short(value)}")
        if "from" in value:
            turns.append((_role(value["from"], f"{where}.from"), [_text(value.get("value"), f"{where}.value")]))
        elif "role" in value:
            content = value.get("content")
            turns.append((_role(value["role"], f"{where}.role"), _content(content, f"{where}.content")))
        elif "user" in value and "assistant" in value:
            turns.append(("user", [_text(value["user"], f"{where}.user")]))
            turns.append(("assistant", [_text(value["assistant"], f"{where}.assistant")]))
        else:
            raise SampleError(Kind.SHAPE, f"{where}: expected from and value, role and content, or user and assistant")
    return turns


def _content(content: object, where: str) -> list[str]:
    """A text, or parts of which those that are no text are markers."""
    if not isinstance(content, list):
        return [_text(content, where)]
    texts = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            texts.append(_text(part.get("text"), f"{where}[{index}].text"))
        elif f"<{kind}>" in MARKERS:
            texts.append(f"<{kind}>")
        else:
            raise SampleError(Kind.SHAPE, f"{where}[{index}].type: {kind!r} is not one of text, image, audio")
    return texts


def _role(value: object, where: str) -> str:
    if not isinstance(value, str) or value not in ROLES:
        raise SampleError(Kind.ROLE, f"{where}: {_short(value)} is not one of {', '.join(ROLES)}")
    return ROLES[value]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise SampleError(Kind.SHAPE, f"{where}: expected a text, got {_short(value)}")
    return value


def _short(value: object) -> str:
    """A value in an error message, cut."""
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
