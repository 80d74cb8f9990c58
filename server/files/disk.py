"""Objects in a folder of this machine.

What has a name is whole: bytes are written elsewhere, brought to the disk, and then get their name, which is brought to
the disk too. Files with the same bytes are links to one another, so the file system counts who still needs them.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

from server.files.objects import CHUNK, Entry, failed
from server.files.staged import new_file, write_all

T = TypeVar("T")
STAGING = "staging"
_STEP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# How often a folder may be removed, as empty, between its making and its use, before that is an error.
_TRIES = 5


class DiskObjects:
    """See `server.files.objects.Objects`.

    Args:
        root: made when it is first needed; `root/staging` is on the same file system and not part of the objects.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / STAGING

    async def write(self, name: str, data: bytes) -> None:
        """Written beside, then named."""
        await _in_thread(lambda: self._write(self._path(name), data))

    async def take(self, name: str, staged: Path) -> None:
        """Linked to its twin where there is one, otherwise moved here."""
        await _in_thread(lambda: self._name(self._path(name), lambda path: self._link_or_move(path, staged)))

    async def read(self, name: str) -> bytes | None:
        """The whole file."""
        return await _in_thread(lambda: _or_none(self._path(name).read_bytes))

    async def open(self, name: str) -> AsyncIterator[bytes] | None:
        """Opened here, so that it stays readable to the end when it is deleted meanwhile."""
        file = await _in_thread(lambda: _or_none(lambda: self._path(name).open("rb")))
        if file is None:
            return None

        async def pieces() -> AsyncIterator[bytes]:
            with file:
                while data := await _in_thread(lambda: file.read(CHUNK)):
                    yield data

        return pieces()

    async def remove(self, name: str) -> None:
        """Unlinked, with its folder if that is empty now."""
        await _in_thread(lambda: self._remove(self._path(name)))

    async def entries(self, folder: str) -> list[Entry]:
        """Every file below."""
        return await _in_thread(lambda: self._entries(self._path(folder) if folder else self.root))

    def _path(self, name: str) -> Path:
        steps = name.split("/")
        # Names are made by this package, of checked parts; this is what holds should that be forgotten.
        if not all(map(_STEP.fullmatch, steps)) or steps[0] == STAGING:
            raise ValueError("no name of an object")
        return self.root.joinpath(*steps)

    def _write(self, path: Path, data: bytes) -> None:
        make_folder(self.staging)
        handle, temporary = new_file(self.staging)
        try:
            write_all(handle, data)
            os.fsync(handle)
            self._name(path, lambda target: os.replace(temporary, target))
        finally:
            temporary.unlink(missing_ok=True)
            os.close(handle)

    def _name(self, path: Path, give: Callable[[Path], None]) -> None:
        for left in reversed(range(_TRIES)):
            make_folder(path.parent)
            try:
                give(path)
                _sync(path.parent)
                return
            except FileNotFoundError:
                if not left:
                    raise

    def _link_or_move(self, path: Path, staged: Path) -> None:
        for twin in os.listdir(path.parent):
            try:
                os.link(path.parent / twin, path)
                return
            except OSError:
                continue  # just removed, or the file system has no links
        os.replace(staged, path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink()
            _sync(path.parent)
        except FileNotFoundError:
            return
        # Folders of a content go with its last file; that of an owner's files stays.
        try:
            if path.parent.parent.name == "blobs":
                path.parent.rmdir()
        except OSError:
            pass  # not empty

    def _entries(self, folder: Path) -> list[Entry]:
        # Texts, not paths: every upload lists what its owner has.
        found: list[Entry] = []
        root, staging = f"{self.root}/", str(self.staging)
        waiting = [str(folder)]
        while waiting:
            for item in _or_none(lambda: _listed(waiting.pop())) or ():
                if item.is_dir(follow_symlinks=False):
                    if item.path != staging:
                        waiting.append(item.path)
                elif (stat := _or_none(lambda item=item: item.stat(follow_symlinks=False))) is not None:  # type: ignore[misc]
                    found.append(Entry(item.path.removeprefix(root), stat.st_mtime))
        return found


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, each on disk before the next is in it."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as items:
        return list(items)


def _or_none(look: Callable[[], T]) -> T | None:
    try:
        return look()
    except (FileNotFoundError, NotADirectoryError):
        return None


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise failed(error) from None
