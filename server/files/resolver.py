"""A file's bytes for a chat: `file-id:file-...`, on behalf of the key at hand.

A file of somebody else, one that has expired and one that never was are answered alike.
"""

import asyncio
import hashlib

from model.errors import MediaError
from server.exchange import current_exchange
from server.files.library import Library
from server.files.objects import logger
from server.files.stored import StoredFile, owner_of
from server.resolvers import FILE_SCHEME
from server.settings import current


class NoSuchFileError(MediaError):
    """An id that is none of the owner's files."""

    code = "file_not_found"


class Files:
    """The `server.resolvers.Resolver` of ids, which also `KnowsDigest`."""

    def __init__(self, library: Library) -> None:
        self._library = library

    async def modality(self, url: str) -> str:
        """Known since the upload.

        Raises:
            NoSuchFileError: not one of the owner's files.
            RefusedError: 503, the store does not answer.
        """
        return (await self._file(url)).modality

    async def digest(self, url: str) -> str:
        """Known since the upload. Raises as `modality`."""
        return (await self._file(url)).sha256

    async def read(self, url: str) -> bytes:
        """The bytes, compared with what was uploaded. Raises as `modality`, and `MediaError` for other bytes."""
        file = await self._file(url)
        limit = current().media_limits.max_bytes
        if file.bytes > limit:
            raise MediaError(f"the file has {file.bytes} bytes, at most {limit} are decoded")
        data = await self._library.bytes(file)
        if data is None:
            raise _missing()
        if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != file.sha256:
            logger.error("%s: the bytes in the store are not those that were uploaded", file.id)
            raise MediaError("the file was damaged in the store; upload it again")
        return data

    async def _file(self, url: str) -> StoredFile:
        exchange = current_exchange()
        file = exchange.files.get(url)
        if file is None:
            file = await self._library.find(owner_of(exchange.key), url.removeprefix(f"{FILE_SCHEME}:"))
        if file is None:
            raise _missing()
        # A request asks several times about each of its files: which kind, which one, its bytes.
        exchange.files[url] = file
        return file


def _missing() -> NoSuchFileError:
    return NoSuchFileError("there is no file with this id; upload it to /v1/files first, or send its bytes")
