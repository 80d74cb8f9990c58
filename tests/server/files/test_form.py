"""Forms read piece by piece: what is in them comes out, wherever they are cut; anything else is refused by name."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import RefusedError
from server.files.form import MAX_FIELD, MAX_PARTS, Form, read_form

NAMES = ("purpose", "expires_after[anchor]")
TYPE = "multipart/form-data; boundary=b"


def part(headers: str, body: bytes) -> bytes:
    return b"--b\r\n" + headers.encode() + b"\r\n\r\n" + body + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', value)


def file(data: bytes, name: str = "a.png") -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return part(f"{disposition}\r\nContent-Type: image/png", data)


END = b"--b--\r\n"


async def read(body: bytes, cuts: Sequence[int] = (), kind: str = TYPE) -> tuple[Form, bytes]:
    async def pieces() -> AsyncIterator[bytes]:
        places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        for begin, end in itertools.pairwise(places):
            yield body[begin:end]

    taken = bytearray()

    async def sink(data: bytes) -> None:
        taken.extend(data)

    form = await read_form(kind, pieces(), sink, NAMES)
    return form, bytes(taken)


def read_or_refused(body: bytes, cuts: Sequence[int] = ()) -> Form | None:
    """Anything but a form or a refusal fails the test."""
    try:
        return asyncio.run(read(body, cuts))[0]
    except RefusedError as error:
        refused = error
    assert refused.error.status == 400
    return None


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 10_000), max_size=12), st.booleans())
def test_a_form_is_read_wherever_it_is_cut(data: bytes, cuts: list[int], file_first: bool) -> None:
    if b"\r\n--b" in b"\r\n" + data:
        return  # a client chooses another boundary then
    parts = [file(data), field("purpose", b"vision")]
    body = b"".join(parts if file_first else reversed(parts)) + END
    form, taken = asyncio.run(read(body, cuts))
    assert (form.fields, form.filename, taken) == ({"purpose": "vision"}, "a.png", data)


@settings(deadline=None)
@given(st.binary(max_size=400), st.lists(st.integers(0, 10_000), max_size=4))
def test_any_bytes_are_a_form_or_are_refused(body: bytes, cuts: list[int]) -> None:
    read_or_refused(body, cuts)


@settings(deadline=None)
@given(st.data())
def test_a_damaged_form_is_a_form_or_is_refused(data: st.DataObject) -> None:
    body = bytearray(field("purpose", b"vision") + file(b"123") + END)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    form = read_or_refused(bytes(body))
    assert form is None or set(form.fields) <= set(NAMES)


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "ends in the middle"),
        (file(b"123"), None, "ends in the middle"),
        (file(b"123")[:-20], None, "ends in the middle"),
        (b"hello, this is no form at all", None, "cannot be told apart"),
        (file(b"1") + file(b"2") + END, "file", "is there twice"),
        (field("purpose", b"a") + field("purpose", b"b") + END, "purpose", "is there twice"),
        (field("file", b"text") + END, "file", "must be a file"),
        (field("purpse", b"vision") + END, "purpse", "known are file, purpose"),
        (field("purpose", b"v" * (MAX_FIELD + 1)) + END, "purpose", f"more than {MAX_FIELD} bytes"),
        (part("Content-Disposition: form-data", b"x") + END, None, "no name"),
        (part("Content-Type: text/plain", b"x") + END, None, "no name"),
        (part('Content-Disposition: attachment; name="purpose"', b"x") + END, None, "no name"),
        (part("X: " + "y" * 10_000, b"x") + END, None, "cannot be told apart"),
        (part("\r\n".join(f"X{n}: y" for n in range(100)), b"x") + END, None, "cannot be told apart"),
    ],
)
async def test_what_is_wrong_is_named(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as refused:
        await read(body)
    assert (refused.value.error.status, refused.value.error.param) == (400, param)


async def test_parts_are_counted() -> None:
    names = tuple(f"f{n}" for n in range(MAX_PARTS + 1))
    body = b"".join(field(name, b"x") for name in names) + END

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    async def sink(data: bytes) -> None:
        raise AssertionError

    with pytest.raises(RefusedError, match=f"more than {MAX_PARTS} parts"):
        await read_form(TYPE, pieces(), sink, names)


@pytest.mark.parametrize("kind", ["application/json", "", "multipart/mixed; boundary=b", "text/plain"])
async def test_another_content_type_is_415(kind: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await read(END, kind=kind)
    assert refused.value.error.status == 415


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "multipart/form-data; boundary=", f"multipart/form-data; boundary={'b' * 5000}"]
)
async def test_a_boundary_is_needed(kind: str) -> None:
    with pytest.raises(RefusedError) as refused:
        await read(END, kind=kind)
    assert refused.value.error.status == 400


async def test_a_name_with_quotes_and_paths() -> None:
    form, _ = await read(file(b"1", 'C:\\\\fakepath\\\\a \\"b\\".png') + END)
    assert form.filename == 'a "b".png'
    form, _ = await read(file(b"1", "../../etc/käse.png") + END)
    assert form.filename == "käse.png"
