"""An upload's body, `multipart/form-data`, read piece by piece: small fields are gathered, the file is handed on.

Nothing in it is believed: parts, headers and fields are counted and bounded, and the name of the file is only a text.
"""

import logging
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from server.errors import RefusedError, refuse
from server.files.stored import shown_name

FILE = "file"
MAX_PARTS = 16
MAX_FIELD = 1024
# Of a body beside the bytes of its file: boundaries, headers, fields.
OVERHEAD = 64 * 1024
# It would write a line for every damaged form, which is the client's business.
logging.getLogger("python_multipart").setLevel(logging.ERROR)
Sink = Callable[[bytes], Awaitable[None]]


@dataclass
class Form:
    """What an upload said beside the bytes."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    """Of the file, as it may be shown; None if there was no file."""


async def read_form(content_type: str, body: AsyncIterable[bytes], sink: Sink, names: tuple[str, ...]) -> Form:
    """Read a body to its end.

    Args:
        content_type: the header of the request.
        body: its pieces.
        sink: is given the bytes of the part `file`, in order; what it raises is raised.
        names: of the fields there may be.

    Raises:
        RefusedError: 415, 400; a part that nobody asked for, one that is there twice, too large, or no form at all.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise refuse(415, "send the file as a form, with content-type: multipart/form-data; boundary=...")
    try:
        reader = _Reader(options.get(b"boundary", b""), names)
        async for piece in body:
            for data in reader.feed(piece):
                await sink(data)
        return reader.end()
    except FormParserError:
        raise _broken("its parts cannot be told apart") from None


class _Reader:
    """Collects what the parser calls out."""

    def __init__(self, boundary: bytes, names: tuple[str, ...]) -> None:
        if not boundary:
            raise _broken("its content-type names no boundary")
        self._names = names
        self._form = Form()
        self._parts = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name: str | None = None
        self._value = bytearray()
        self._file: list[bytes] = []
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._part_begins,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_ends,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_ends,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def feed(self, piece: bytes) -> list[bytes]:
        """Read on; the bytes of the file that were in it."""
        if piece:
            self._parser.write(piece)
        data, self._file = self._file, []
        return data

    def end(self) -> Form:
        if not self._ended:
            raise _broken("it ends in the middle")
        return self._form

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _broken(f"it has more than {MAX_PARTS} parts")
        self._disposition, self._name = b"", None

    def _header_ends(self) -> None:
        name, value = map(bytes, self._header)
        self._header = (bytearray(), bytearray())
        if name.lower() == b"content-disposition":
            self._disposition = value

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode(errors="replace")
        if kind != b"form-data" or not name:
            raise _broken("a part has no name")
        if name == FILE:
            if self._form.filename is not None:
                raise _bad(FILE, "is there twice; send one file at a time", "duplicate_parameter")
            if not options.get(b"filename"):
                raise _bad(FILE, "must be a file with a filename, not a text", "invalid_type")
            self._form.filename = shown_name(options[b"filename"].decode(errors="replace"))
        elif name not in self._names:
            known = ", ".join((FILE, *self._names))
            raise _bad(name[:64], f"is not known here; known are {known}", "unknown_parameter")
        elif name in self._form.fields:
            raise _bad(name, "is there twice", "duplicate_parameter")
        self._name, self._value = name, bytearray()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._file.append(data[start:end])
            return
        self._value.extend(data[start:end])
        if len(self._value) > MAX_FIELD:
            raise _bad(str(self._name), f"has more than {MAX_FIELD} bytes", "string_above_max_length")

    def _part_ends(self) -> None:
        if self._name is not None and self._name != FILE:
            self._form.fields[self._name] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self._ended = True


def _broken(why: str) -> RefusedError:
    return refuse(400, f"the form cannot be read: {why}", code="invalid_form")


def _bad(name: str, problem: str, code: str) -> RefusedError:
    return refuse(400, f"{name} {problem}", param=name, code=code)
