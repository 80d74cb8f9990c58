"""What a place for bytes must be able to do, and the two ways in which it fails.

A place keeps objects under names such as `key.alice/files/file-...`. What a method has returned from has happened and
outlives the process, the machine's power and, where the place is shared, the machine.
"""

import errno
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server.errors import RefusedError, refuse

logger = logging.getLogger("server.files")

# Of a file's bytes on their way to a client.
CHUNK = 256 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Entry:
    """An object that is there."""

    name: str
    modified: float
    """When it was written, seconds since 1970."""


class Objects(Protocol):
    """A place. Every method raises `RefusedError`, 507 or 503, where the place is full or does not answer."""

    async def write(self, name: str, data: bytes) -> None:
        """Keep a small object, wholly or not at all."""
        ...

    async def take(self, name: str, staged: Path) -> None:
        """Keep the bytes of a staged file, wholly or not at all.

        Args:
            name: `<anything>/<sha256>/<anything>`. Objects whose names differ only in the last step have the same
                bytes, and a place may keep those once.
            staged: a file that is on disk already; it may be gone afterwards.
        """
        ...

    async def read(self, name: str) -> bytes | None:
        """A small object; None if there is none."""
        ...

    async def open(self, name: str) -> AsyncIterator[bytes] | None:
        """The bytes of an object in pieces; None if there is none."""
        ...

    async def remove(self, name: str) -> None:
        """Make an object not be there; it may be gone already."""
        ...

    async def entries(self, folder: str) -> list[Entry]:
        """All objects whose names begin with `folder` and a slash, or just all of them for an empty one."""
        ...


def full() -> RefusedError:
    """The place has no room."""
    message = "the server has no room for the file; nothing of it was kept. Delete files, or ask the operator for room"
    return refuse(507, message, code="storage_full")


def unavailable() -> RefusedError:
    """The place does not answer."""
    return refuse(503, "the store of files does not answer; try again in a moment", code="storage_unavailable")


def failed(error: OSError) -> RefusedError:
    """How an error of the file system is answered; the log says which it was."""
    if error.errno in _FULL:
        logger.error("no room for files: %s", error.strerror)
        return full()
    logger.error("files cannot be reached: %s", error.strerror or type(error).__name__)
    return unavailable()
