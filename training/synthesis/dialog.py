"""A dialog as a generator writes it, and the sample it becomes.

Generators name media (`image 1`, `audio 1`, ...: numbered by modality in the order of the dialog) and say with which
turn each is given; only here do names become content parts with paths. The same form is the JSON that a language model
is asked for (`schema`) and that is read back without any forgiveness (`parse`).
"""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from training.data import MediaRef

# Share of turns whose media come before the question; for the others they come after it. As in the demo's corpora:
# the place must not matter.
MEDIA_FIRST = 2 / 3
_PARTS = {"image": "image_url", "audio": "audio_url"}


class MalformedError(ValueError):
    """A text that is not the JSON that was asked for."""


class Turn(BaseModel):
    """A question with the media given along with it, and its answer."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    media: list[str]
    """Names of the media that are given with this turn, in order; none for a question about earlier ones."""
    question: str
    answer: str


class Dialog(BaseModel):
    """A conversation of turns."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    turns: list[Turn]

    @property
    def texts(self) -> list[str]:
        """All questions and answers, in order."""
        return [text for turn in self.turns for text in (turn.question, turn.answer)]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A dialog and how it was made."""

    dialog: Dialog
    templates: tuple[str, ...] = ()
    """Names of the templates of its turns; none from a language model."""


def parse(text: str) -> Dialog:
    """Read the JSON of one dialog: nothing around it, no key missing, none too many.

    Raises:
        MalformedError: what is wrong with it, without the text itself.
    """
    try:
        return Dialog.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the text"
        raise MalformedError(f"{where}: {first['msg']}"[:200]) from None


def schema(names: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a dialog over these media; every key required and no other allowed, as strict modes ask."""

    def mapping(**properties: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    media = {"type": "array", "items": {"type": "string", "enum": list(names)}}
    text = {"type": "string"}
    return mapping(turns={"type": "array", "items": mapping(media=media, question=text, answer=text)})


def names_of(modalities: Sequence[str]) -> tuple[str, ...]:
    """Names of media in order: `image 1`, `audio 1`, `image 2`, ..."""
    return tuple(
        f"{modality} {sum(each == modality for each in modalities[: place + 1])}"
        for place, modality in enumerate(modalities)
    )


def to_messages(
    dialog: Dialog, media: Mapping[str, MediaRef], folder: Path, rng: random.Random
) -> list[dict[str, Any]]:
    """The messages of a sample in `folder`, media paths relative to it.

    Args:
        dialog: checked: every medium it names is in `media`.
        media: by name.
        folder: where the file of samples will lie.
        rng: decides whether media come before or after their question.
    """
    messages: list[dict[str, Any]] = []
    for turn in dialog.turns:
        parts = [_part(media[name], folder) for name in turn.media]
        text = {"type": "text", "text": turn.question.strip()}
        content = [*parts, text] if rng.random() < MEDIA_FIRST else [text, *parts]
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": turn.answer.strip()})
    return messages


def _part(reference: MediaRef, folder: Path) -> dict[str, Any]:
    url = Path(os.path.relpath(reference.path, folder.resolve())).as_posix()
    if reference.row is not None:
        url += f"#{reference.row}"
    kind = _PARTS[reference.modality]
    return {"type": kind, kind: {"url": url}}
