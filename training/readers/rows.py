"""Rows of a table -> drafts: media, a question and an answer in columns, or whole conversations in one.

Used by every format that has columns. A role takes the column that the user named, or the first known one of these:

    id            id
    file          file_name, file, path            picture or sound by its ending
    image, audio  image, images; audio, audios     one medium or a list of them
    question      question, instruction, prompt
    answer        answer, caption, text, transcription, sentence, label
    conversation  messages, conversations, conversation, texts

Without a question column, captions are asked for with plain questions. Plain values of other columns are kept in
`meta`; columns that no JSON line can hold are left out and named at the end.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import DataError
from training.problems import Kind, SampleError
from training.readers.base import Draft, Medium, Reader, Turn, modality_of
from training.readers.markers import place, turns_of

COLUMNS = {
    "id": ("id",),
    "file": ("file_name", "file", "path"),
    "image": ("image", "images"),
    "audio": ("audio", "audios"),
    "question": ("question", "instruction", "prompt"),
    "answer": ("answer", "caption", "text", "transcription", "sentence", "label"),
    "conversation": ("messages", "conversations", "conversation", "texts"),
}
MEDIA_ROLES = ("file", "image", "audio")


class RowReader(Reader):
    """A source of rows: mappings of column -> value."""

    _number = -1

    def drafts(self, record: Any) -> list[Draft]:
        """One row as drafts, one for each of its answers.

        Raises:
            SampleError: a row without its medium, question or answer.
        """
        if not isinstance(record, Mapping):
            raise SampleError(Kind.SHAPE, "expected an object of columns and values")
        self._number += 1
        columns = choose_columns(list(record), self.options.columns)
        media = []
        for role in MEDIA_ROLES:
            if role in columns:
                cell = record[columns[role]]
                cells = cell if isinstance(cell, list) else [cell]
                media += [self.medium(value, role, columns[role]) for value in cells if value not in (None, "")]
        if "conversation" in columns:
            conversations = [_conversation(record[columns["conversation"]], columns["conversation"], media)]
            used = {column for role, column in columns.items() if role not in ("question", "answer")}
        else:
            conversations = self._answers(record, columns, media)
            used = set(columns.values())
        # The label of a closed set is an answer and, for its ceiling, a label.
        used.discard("label")
        meta, left_out = plain_values({key: value for key, value in record.items() if key not in used})
        self.left_out |= left_out
        if "label" in meta:
            meta["label"] = str(meta["label"])
        name = text_id(record[columns["id"]] if "id" in columns else None)
        return [Draft(turns=turns, id=name, meta=meta) for turns in conversations]

    def medium(self, value: Any, role: str, column: str) -> Medium:
        """The medium of a cell; here a cell names a file.

        Raises:
            SampleError: the cell holds none.
        """
        path = self.file(value, f"column {column!r}")
        return Medium(modality_of(path) if role == "file" else role, path)

    def _answers(
        self, row: Mapping[str, Any], columns: Mapping[str, str], media: Sequence[Medium]
    ) -> list[Sequence[Turn]]:
        asked = _texts(row, columns["question"], Kind.SHAPE)[0] if "question" in columns else None
        if not media and asked is None:
            raise SampleError(Kind.MISSING, "neither a medium nor a question; an answer alone teaches nothing")
        question = self.question(media, self._number) if asked is None else asked
        return [
            [Turn("user", [*media, question]), Turn("assistant", [answer])]
            for answer in _texts(row, columns["answer"], Kind.NO_CAPTION)
        ]


def choose_columns(present: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Role -> column.

    Args:
        present: the columns of the table.
        named: what the user said; goes before what is known.

    Raises:
        DataError: an unknown role.
        SampleError: a column that is not there, or no column that answers.
    """
    for role, column in named.items():
        if role not in COLUMNS:
            raise DataError(f"column {role}={column}: {role!r} is not one of {', '.join(COLUMNS)}")
        if column not in present:
            raise SampleError(Kind.SHAPE, f"has no column {column!r}; it has {', '.join(present)}")
    known = {role: next((name for name in names if name in present), None) for role, names in COLUMNS.items()}
    chosen = {role: column for role, column in known.items() if column is not None and column not in named.values()}
    chosen |= named
    if "answer" in named and "conversation" not in named:
        chosen.pop("conversation", None)
    if "conversation" not in chosen and "answer" not in chosen:
        raise SampleError(
            Kind.NO_CAPTION, f"no column holds the answer; there are {', '.join(present)}. Name it: answer=COLUMN"
        )
    return chosen


def _conversation(values: Any, key: str, media: Sequence[Medium]) -> Sequence[Turn]:
    # Pairs of questions and answers have no markers: what they are about comes first.
    pairs = isinstance(values, list) and bool(values) and isinstance(values[0], Mapping) and "user" in values[0]
    return place(turns_of(values, key), media, lead=pairs)


def plain_values(values: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What a JSON line can hold in `meta`, and the names of what it cannot; empty cells are neither."""
    kept: dict[str, Any] = {}
    left_out = set()
    for key, value in values.items():
        if value is None or value == "":
            continue
        if isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
            kept[key] = value
        else:
            left_out.add(key)
    return kept, left_out


def text_id(value: object) -> str | None:
    """An id as text; numbers are ids too."""
    return None if value is None or value == "" else str(value)


def _texts(row: Mapping[str, Any], column: str, kind: Kind) -> list[str]:
    """The text of a cell, or the texts of one that holds several captions of one medium."""
    value = row[column]
    texts = []
    for item in value if isinstance(value, list) and value else [value]:
        text = str(item) if isinstance(item, bool | int | float) else item
        if not isinstance(text, str) or not text.strip():
            raise SampleError(kind, f"column {column!r}: expected a text that is not empty, got {str(item)[:80]!r}")
        texts.append(text)
    return texts
