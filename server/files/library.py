"""Files of owners, kept in a place: added within a quota, found by their owner alone, gone when deleted or expired.

The bytes of a file are kept first and its record last, so whatever ends the process, a file is there as a whole or not
at all; it is removed in the opposite order. Bytes that no record is about, which a server that was killed may leave,
are removed by `sweep`.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from cachetools import LRUCache
from pydantic import ValidationError

from server.errors import RefusedError, refuse
from server.files.objects import Objects, logger
from server.files.staged import Staged
from server.files.stored import Modality, Purpose, StoredFile, is_id, new_id
from server.metrics import definitions as metrics
from server.resolvers import known_modality

# After this long without a record, bytes belong to an upload that will never be one, seconds.
ABANDONED = 3600.0
# Records that are kept in memory, to list and count files without reading each of them again.
REMEMBERED = 20_000
AT_ONCE = 16


@dataclass(frozen=True)
class Quota:
    """What one owner may keep."""

    files: int
    bytes: int


class Library:
    """All files of a place.

    Args:
        objects: the place.
        staging: folder on this machine for uploads that have not ended.
        clock: seconds since 1970.
    """

    def __init__(self, objects: Objects, staging: Path, clock: Callable[[], float] = time.time) -> None:
        self.objects, self._staging, self._clock = objects, staging, clock
        self._records: LRUCache[str, StoredFile] = LRUCache(REMEMBERED)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # Owner -> id -> size, of what is being added.
        self._coming: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._reading = asyncio.Semaphore(AT_ONCE)

    def stage(self) -> Staged:
        """Where the bytes of an upload go until they are added."""
        return Staged(self._staging)

    async def room(self, owner: str, quota: Quota) -> int:
        """How many bytes `owner` may still add.

        Raises:
            RefusedError: 403, none, or no file at all.
        """
        return self._room(owner, quota, await self.files(owner))

    async def add(
        self, owner: str, staged: Staged, *, filename: str, purpose: Purpose, seconds: int | None, quota: Quota
    ) -> StoredFile:
        """Keep what was staged.

        Args:
            staged: not yet finished.
            seconds: until it expires; None for never.

        Raises:
            MediaError: neither a picture nor a sound.
            RefusedError: 403, 507, 503.
        """
        modality = cast(Modality, known_modality(staged.beginning))
        await staged.finish()
        now = int(self._clock())
        file = StoredFile(
            id=new_id(),
            owner=owner,
            filename=filename,
            bytes=staged.size,
            sha256=staged.sha256,
            modality=modality,
            purpose=purpose,
            created_at=now,
            expires_at=None if seconds is None else now + seconds,
        )
        coming = self._coming[owner]
        async with self._locks[owner]:
            if self._room(owner, quota, await self.files(owner)) < file.bytes:
                raise _no_room(quota)
            coming[file.id] = file.bytes
        try:
            await self.objects.take(file.content, staged.path)
            await self.objects.write(file.record, file.model_dump_json().encode())
            self._records[file.record] = file
        finally:
            # While somebody counts, what is added counts once at least.
            async with self._locks[owner]:
                del coming[file.id]
        return file

    async def find(self, owner: str, name: str) -> StoredFile | None:
        """The file of this owner with this id; None also for what is somebody else's, has expired, or is no id."""
        if not is_id(name):
            return None
        file = await self._read(f"{owner}/files/{name}")
        return None if file is None or file.expired(self._clock()) else file

    async def files(self, owner: str) -> list[StoredFile]:
        """All files of an owner, the oldest first."""
        now = self._clock()
        names = sorted(entry.name for entry in await self.objects.entries(f"{owner}/files"))
        found = await self._all_known(names)
        return [file for file in found.values() if file is not None and not file.expired(now)]

    async def content(self, file: StoredFile) -> AsyncIterator[bytes] | None:
        """Its bytes in pieces; None if it was deleted meanwhile."""
        return await self.objects.open(file.content)

    async def bytes(self, file: StoredFile) -> bytes | None:
        """Its bytes; None if it was deleted meanwhile."""
        return await self.objects.read(file.content)

    async def remove(self, file: StoredFile) -> None:
        """Delete it; once this returns, nobody finds it any more."""
        await self.objects.remove(file.record)
        self._records.pop(file.record, None)
        try:
            await self.objects.remove(file.content)
        except RefusedError:
            logger.warning("the bytes of a deleted file stay until the next sweep")

    async def sweep(self) -> int:
        """Remove what has expired, and bytes that belong to no file; how many objects those were."""
        now = self._clock()
        entries = await self.objects.entries("")
        known = await self._all_known([entry.name for entry in entries if "/files/" in entry.name])
        expired = [file for file in known.values() if file is not None and file.expired(now)]
        for file in expired:
            await self.remove(file)
        kept = [file for file in known.values() if file is not None and not file.expired(now)]
        metrics.FILES.set(len(kept))
        metrics.FILES_BYTES.set(sum(file.bytes for file in kept))
        count = len(expired)
        for entry in entries:
            owner, kind, *_, name = entry.name.split("/")
            record = f"{owner}/files/{name}"
            if kind != "blobs" or record in known or now - entry.modified <= ABANDONED:
                continue
            # A list may be older than what it lists.
            if await self.objects.read(record) is None:
                await self.objects.remove(entry.name)
                count += 1
        return count

    def _room(self, owner: str, quota: Quota, files: list[StoredFile]) -> int:
        sizes = {file.id: file.bytes for file in files} | self._coming[owner]
        left = quota.bytes - sum(sizes.values())
        if len(sizes) >= quota.files or left < 1:
            raise _no_room(quota)
        return left

    async def _all_known(self, records: list[str]) -> dict[str, StoredFile | None]:
        """`_known` of each, in this order; those that are in memory cost no task."""
        found: dict[str, StoredFile | None] = {record: self._records.get(record) for record in records}
        new = [record for record, file in found.items() if file is None]
        found.update(zip(new, await asyncio.gather(*map(self._known, new)), strict=True))
        return found

    async def _known(self, record: str) -> StoredFile | None:
        """A file whose record was there a moment ago."""
        found: StoredFile | None = self._records.get(record)
        if found is None:
            async with self._reading:
                found = await self._read(record)
            if found is not None:
                self._records[record] = found
        return found

    async def _read(self, record: str) -> StoredFile | None:
        data = await self.objects.read(record)
        if data is None:
            return None
        try:
            file = StoredFile.model_validate_json(data)
        except ValidationError:
            logger.error("%s is not a record of a file; it is left out", record)
            return None
        if file.record != record:
            logger.error("%s is the record of another file; it is left out", record)
            return None
        return file


def _no_room(quota: Quota) -> RefusedError:
    kept = f"{quota.files} files of {quota.bytes} bytes together are kept at most"
    return refuse(403, f"{kept}, and this one would be more; delete some first", param="file", code="quota_exceeded")
