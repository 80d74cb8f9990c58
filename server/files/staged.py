"""The bytes of an upload until they are known to be good: a file beside the store, hashed while it grows.

It is locked as long as its process lives. What is left by a process that was killed is thus known from what is being
written just now, by whichever process, and is removed at the next start.
"""

import asyncio
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from server.files.objects import failed, logger

# Bytes that gather in memory before they are written.
BATCH = 1024 * 1024
# Enough to know what a file is.
BEGINNING = 64


class Staged:
    """A new file in `folder`; gone at the end of the `async with`, unless somebody moved it away.

    Raises:
        RefusedError: 507 or 503, no room or no access; what was written is gone then.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending = bytearray()
        self._hash = hashlib.sha256()
        self._handle = -1
        # A request that is cancelled goes on to its end here while its thread still writes.
        self._lock = threading.Lock()
        self.path = folder
        self.size = 0
        self.beginning = b""

    @property
    def sha256(self) -> str:
        """Of what was added so far, 64 hexadecimal digits."""
        return self._hash.hexdigest()

    async def __aenter__(self) -> "Staged":
        await self._in_thread(self._create)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not to be interrupted: a client that goes away must not leave its half upload.
        await asyncio.shield(asyncio.to_thread(self._discard))

    async def add(self, data: bytes) -> None:
        """Append."""
        self.size += len(data)
        self.beginning += data[: BEGINNING - len(self.beginning)] if len(self.beginning) < BEGINNING else b""
        self._pending += data
        if len(self._pending) >= BATCH:
            await self._in_thread(self._flush)

    async def finish(self) -> None:
        """Return once all of it is on disk."""
        await self._in_thread(self._sync)

    async def _in_thread(self, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as error:
            raise failed(error) from None

    def _create(self) -> None:
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle, self.path = new_file(self._folder)

    def _flush(self) -> None:
        with self._lock:
            self._write()

    def _sync(self) -> None:
        with self._lock:
            self._write()
            os.fsync(self._handle)

    def _write(self) -> None:
        pending, self._pending = self._pending, bytearray()
        self._hash.update(pending)
        write_all(self._handle, pending)

    def _discard(self) -> None:
        with self._lock:
            if self._handle >= 0:
                self.path.unlink(missing_ok=True)
                os.close(self._handle)
                self._handle = -1


def new_file(folder: Path) -> tuple[int, Path]:
    """A new file in `folder`, open for writing and locked; the handle is the caller's to close."""
    while True:
        path = folder / secrets.token_hex(16)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Between the two lines, another process may have taken it for a dead one's.
        if os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)


def write_all(handle: int, data: bytes | bytearray) -> None:
    """Write all of it, however often the system must be asked."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def remove_abandoned(folder: Path) -> int:
    """Remove what no living process is writing; how many there were."""
    count = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            count += 1
        except BlockingIOError:
            pass
        finally:
            os.close(handle)
    if count:
        logger.info("removed %d unfinished uploads of a server that was killed", count)
    return count
