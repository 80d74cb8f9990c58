"""Items of a JSON file, one at a time: an array of any length, or JSON lines. Memory holds one item and a buffer.

Annotation files of a gigabyte are usual, and decoding one at once takes several times its size.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from model.errors import DataError
from training.data import MAX_LINE, check_characters, iter_lines, parse_json, refuse_constant
from training.problems import SampleError

CHUNK = 1 << 20
_DECODER = json.JSONDecoder(parse_constant=refuse_constant)


def json_items(path: Path) -> Iterator[tuple[str, Any]]:
    """Each item with its place `file:line`; a `SampleError` in the place of an unreadable line.

    Raises:
        DataError: the file cannot be read, or an array is damaged: what follows cannot be told apart any more.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.read(1)
            while head.isspace():
                head = file.read(1)
            if head == "[":
                file.seek(0)
                yield from _array(file, path)
                return
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    for where, line in iter_lines(path):
        try:
            yield where, parse_json(line)
        except SampleError as error:
            yield where, error


def _array(file: IO[str], path: Path) -> Iterator[tuple[str, Any]]:
    text = _Text(file, path)
    text.take("[")
    if text.peek() == "]":
        text.take("]")
    else:
        while True:
            where, item = text.item()
            yield where, item
            if text.peek() == "]":
                text.take("]")
                break
            text.take(",")
    if text.peek():
        raise text.broken("something follows the array")


class _Text:
    """The text of a file from a moving position on, with its line number."""

    def __init__(self, file: IO[str], path: Path) -> None:
        self.file, self.path = file, path
        self.buffer, self.position, self.line, self.ended = "", 0, 1, False

    def peek(self) -> str:
        """The next character that is no white space, or nothing at the end."""
        while True:
            while self.position < len(self.buffer) and self.buffer[self.position].isspace():
                self._advance(self.position + 1)
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if not self._fill():
                return ""

    def take(self, character: str) -> None:
        """Step over a character that must come next."""
        found = self.peek()
        if found != character:
            raise self.broken(f"expected {character!r}, found {found or 'the end'!r}")
        self._advance(self.position + 1)

    def item(self) -> tuple[str, Any]:
        """Decode the item that begins here."""
        self.peek()
        where = f"{self.path}:{self.line}"
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.position)
            except RecursionError:
                raise self.broken("nested too deeply") from None
            except ValueError as error:
                # Whether it is damaged or only cut off by the buffer's end shows when there is more to see.
                if len(self.buffer) - self.position > MAX_LINE or not self._fill():
                    raise self.broken(str(error)) from None
                continue
            # A number may go on.
            if end == len(self.buffer) and self._fill():
                continue
            spelled = self.buffer[self.position : end]
            self._advance(end)
            try:
                check_characters(spelled, value)
            except SampleError as error:
                return where, error
            return where, value

    def broken(self, why: str) -> DataError:
        return DataError(f"{self.path}:{self.line}: not valid JSON ({why})")

    def _advance(self, position: int) -> None:
        self.line += self.buffer.count("\n", self.position, position)
        self.position = position

    def _fill(self) -> bool:
        """Read on; as much again as is waiting, so that a long item costs no more than twice its length."""
        waiting = self.buffer[self.position :]
        more = self.file.read(max(CHUNK, len(waiting)))
        self.buffer, self.position = waiting + more, 0
        return bool(more)
