"""The JSON lines of S3 and turbo-alignment: one message per text or medium.

    {"id": "0", "messages": [{"role": "user", "type": "image", "content": "cat.jpg"},
                             {"role": "user", "type": "text", "content": "What is it?"},
                             {"role": "bot", "type": "text", "content": "A cat."}]}

Messages of the user that follow each other are one turn; two of the bot are an error. `type` is `text` where it is
missing, as in the chat data of the same library. `disable_loss` on a bot message cannot be kept (every answer is
learned), so it is an error; on other messages it changes nothing.

Source: docs/dataset_example.md and turbo_alignment/dataset/multimodal/models.py of turbo-llm/turbo-alignment at
5563a3f, the last commit with multimodal data.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from training.problems import Kind, SampleError
from training.readers.base import Draft, Medium, Reader, Turn, existing
from training.readers.json_items import json_items
from training.readers.markers import MARKERS
from training.readers.rows import plain_values, text_id

ROLES = {"system": "system", "user": "user", "bot": "assistant", "assistant": "assistant"}
KEYS = ("role", "type", "content", "disable_loss")


class S3Reader(Reader):
    """A file in the format of S3's training code."""

    name: ClassVar[str] = "s3"

    def records(self) -> Iterator[tuple[str, Any]]:
        """The lines of the file."""
        return json_items(existing(self.source))

    def drafts(self, record: Any) -> list[Draft]:
        """Messages of one role in a row become one turn."""
        messages = record.get("messages") if isinstance(record, Mapping) else None
        if not isinstance(messages, list):
            raise SampleError(Kind.SHAPE, "expected an object with a list of messages")
        turns: list[tuple[str, list[str | Medium]]] = []
        for index, message in enumerate(messages):
            role, part = self._message(message, f"messages[{index}]")
            if role == "user" and turns and turns[-1][0] == role:
                turns[-1][1].append(part)
            else:
                turns.append((role, [part]))
        rest = {key: value for key, value in record.items() if key not in ("id", "messages", "meta")}
        inner = record.get("meta")
        meta, left_out = plain_values({**(inner if isinstance(inner, Mapping) else {}), **rest})
        self.left_out |= left_out
        return [Draft(turns=[Turn(role, parts) for role, parts in turns], id=text_id(record.get("id")), meta=meta)]

    def _message(self, message: Any, where: str) -> tuple[str, str | Medium]:
        if not isinstance(message, Mapping):
            raise SampleError(Kind.SHAPE, f"{where}: expected an object")
        if unknown := sorted(set(message) - set(KEYS)):
            raise SampleError(Kind.SHAPE, f"{where}: unknown key {unknown[0]!r}; known are {', '.join(KEYS)}")
        role, kind, content = message.get("role"), message.get("type", "text"), message.get("content")
        if not isinstance(role, str) or role not in ROLES:
            raise SampleError(Kind.ROLE, f"{where}.role: {role!r} is not one of {', '.join(ROLES)}")
        if ROLES[role] == "assistant" and message.get("disable_loss"):
            raise SampleError(
                Kind.SHAPE, f"{where}.disable_loss: every answer is learned; remove the key or the messages up to here"
            )
        if kind == "text":
            if not isinstance(content, str):
                raise SampleError(Kind.SHAPE, f"{where}.content: expected a text, got {content!r}")
            return ROLES[role], content
        if kind not in MARKERS.values():
            raise SampleError(Kind.SHAPE, f"{where}.type: {kind!r} is not one of text, {', '.join(MARKERS.values())}")
        return ROLES[role], Medium(kind, self.file(content, f"{where}.content"))
