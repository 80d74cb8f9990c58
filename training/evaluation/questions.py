"""A conversation as questions, one per assistant turn, each with everything that was said before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from model.errors import DataError
from model.prompt import media_parts
from training.data import MediaRef, Sample


@dataclass(frozen=True)
class Question:
    """What is asked: the turns before an answer, in the reference's words, and the answer that is wanted."""

    messages: list[dict[str, Any]]
    media: list[MediaRef]
    """Of those turns, in reading order."""
    reference: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model made of one question."""

    exact: bool
    """Whether it answers word for word, and ends there."""
    text: str | None = None
    """Its answer; None where none was generated."""
    surprise: float | None = None
    """Sum of -log p over the reference's tokens, its end token left out, nats; None where the model does not tell."""
    tokens: int = 0
    """How many tokens those are."""
    failure: str | None = None
    """Why there is no answer; such a reply counts as wrong."""


class Backend(Protocol):
    """Something that answers: a checkpoint, or a server."""

    @property
    def description(self) -> str:
        """What is evaluated, in a few words without paths."""
        ...

    def reply(self, samples: Sequence[Sample], name: str) -> list[list[Reply]]:
        """For each sample a reply to each of its questions; `name` is what a progress bar is called."""
        ...


def questions(sample: Sample) -> list[Question]:
    """The questions of a conversation, in order."""
    found = []
    for index, message in enumerate(sample.messages):
        if message["role"] == "assistant":
            before = sample.messages[:index]
            count = sum(1 for _ in media_parts(before))
            # A control may have taken or exchanged the media, so they are counted, not looked up.
            found.append(Question(before, sample.media[:count], str(message["content"])))
    if not found:
        raise DataError(f"sample {sample.id}: the conversation has no assistant turn to compare with")
    return found
