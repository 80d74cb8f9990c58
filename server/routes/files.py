"""`/v1/files` as OpenAI's: upload, list, look at, read and delete media that chats name by id."""

from typing import Any, cast
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from model.errors import MediaError
from server.errors import RefusedError, refuse
from server.exchange import current_exchange
from server.files.form import OVERHEAD, Form, read_form
from server.files.library import Library
from server.files.setup import quota_of
from server.files.stored import PURPOSES, Purpose, StoredFile, is_id, owner_of
from server.settings import current

router = APIRouter()
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
FIELDS = ("purpose", ANCHOR, SECONDS)
# As OpenAI's: an hour to thirty days.
SHORTEST, LONGEST = 3600, 30 * 24 * 3600
MOST_LISTED = 10_000


@router.post("/v1/files")
async def upload(raw: Request) -> dict[str, Any]:
    """Keep a picture or a sound; takes a form with `file`, `purpose`, and if it is to go by itself `expires_after`."""
    library, owner, quota = _library(raw), _owner(), quota_of(current_exchange().key)
    limit = current().max_file_bytes
    pieces = aiter(raw.stream())
    async with library.stage() as staged:

        async def sink(data: bytes) -> None:
            await staged.add(data)
            if staged.size > limit:
                raise _too_large(limit)
            if staged.size > room:
                message = f"the file is larger than the {room} bytes that may still be kept; delete some files first"
                raise refuse(403, message, param="file", code="quota_exceeded")

        try:
            declared = raw.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > limit + OVERHEAD:
                raise _too_large(limit)
            room = await library.room(owner, quota)
            form = await read_form(raw.headers.get("content-type", ""), pieces, sink, FIELDS)
            purpose, seconds = check(form)
            if not staged.size:
                raise refuse(400, "the file is empty", param="file", code="empty_file")
            file = await library.add(
                owner, staged, filename=form.filename or "", purpose=purpose, seconds=seconds, quota=quota
            )
        except MediaError as error:
            raise refuse(400, str(error), param="file", code=error.code) from None
        except RefusedError:
            # A client that still sends does not read answers; the limits of a body hold here too.
            async for _ in pieces:
                pass
            raise
    return file.shown()


@router.get("/v1/files")
async def list_files(raw: Request) -> dict[str, Any]:
    """The owner's files, the newest first; takes `purpose`, `limit`, `after` and `order`."""
    library, query = _library(raw), raw.query_params
    purpose, order, after = query.get("purpose"), query.get("order", "desc"), query.get("after")
    limit = _number("limit", query.get("limit", str(MOST_LISTED)), 1, MOST_LISTED)
    if order not in ("asc", "desc"):
        raise refuse(400, "order must be asc or desc", param="order", code="invalid_value")
    if after is not None and not is_id(after):
        raise refuse(400, "after must be the id of a file", param="after", code="invalid_value")
    files = [file for file in await library.files(_owner()) if purpose in (None, file.purpose)]
    if order == "desc":
        files.reverse()
    if after is not None:
        files = [file for file in files if (file.id < after if order == "desc" else file.id > after)]
    page = files[:limit]
    return {
        "object": "list",
        "data": [file.shown() for file in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(files) > limit,
    }


@router.get("/v1/files/{name}")
async def retrieve(name: str, raw: Request) -> dict[str, Any]:
    """One of them."""
    return (await _file(name, raw)).shown()


@router.get("/v1/files/{name}/content")
async def content(name: str, raw: Request) -> StreamingResponse:
    """Its bytes, which no browser shows: they came from a stranger."""
    file = await _file(name, raw)
    pieces = await _library(raw).content(file)
    if pieces is None:
        raise _missing()
    headers = {
        "content-length": str(file.bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
    }
    return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")


@router.delete("/v1/files/{name}")
async def delete(name: str, raw: Request) -> dict[str, Any]:
    """Remove it; no request finds it afterwards."""
    file = await _file(name, raw)
    await _library(raw).remove(file)
    return {"id": file.id, "object": "file", "deleted": True}


def check(form: Form) -> tuple[Purpose, int | None]:
    """The purpose of an upload, and the seconds it is to be kept, None for ever.

    Raises:
        RefusedError: 400, what is missing or impossible.
    """
    if form.filename is None:
        raise refuse(400, "the form has no file", param="file", code="missing_required_parameter")
    purpose = form.fields.get("purpose")
    if purpose is None:
        message = f"purpose is missing; it is one of {', '.join(PURPOSES)}"
        raise refuse(400, message, param="purpose", code="missing_required_parameter")
    if purpose not in PURPOSES:
        message = f"purpose must be one of {', '.join(PURPOSES)}"
        raise refuse(400, message, param="purpose", code="invalid_value")
    return cast(Purpose, purpose), _seconds(form.fields.get(ANCHOR), form.fields.get(SECONDS))


def _seconds(anchor: str | None, seconds: str | None) -> int | None:
    settings = current()
    if anchor is None and seconds is None:
        known = [value for value in (settings.files_expire_after, settings.files_expire_max) if value is not None]
        return min(known, default=None)
    if anchor != "created_at":
        raise refuse(400, f"{ANCHOR} must be created_at", param=ANCHOR, code="invalid_value")
    longest = min(LONGEST, settings.files_expire_max or LONGEST)
    return _number(SECONDS, seconds or "", SHORTEST, longest)


def _number(name: str, text: str, low: int, high: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 12 or not low <= int(text) <= high:
        raise refuse(400, f"{name} must be a whole number, {low}..{high}", param=name, code="invalid_value")
    return int(text)


def _owner() -> str:
    return owner_of(current_exchange().key)


def _library(raw: Request) -> Library:
    library: Library | None = raw.app.state.quartet_files
    if library is None:
        raise refuse(404, "this server keeps no files; send media inside the request", code="files_disabled")
    return library


async def _file(name: str, raw: Request) -> StoredFile:
    file = await _library(raw).find(_owner(), name)
    if file is None:
        raise _missing()
    return file


def _missing() -> RefusedError:
    return refuse(404, "there is no file with this id", param="file_id", code="file_not_found")


def _too_large(limit: int) -> RefusedError:
    return refuse(413, f"the file has more than {limit} bytes; send a smaller one", param="file", code="file_too_large")
