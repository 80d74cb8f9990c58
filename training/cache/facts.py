"""What is known about files, as long as nobody writes to them: a medium's sha256, a shard's integrity.

    <cache>/features/files.sqlite     path -> size, times, inode, fact

A second run over the same corpus then asks the file system for sizes and times instead of reading every byte again. The
record is only a help: when it is damaged, locked or read-only, everything is found out anew.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

log = logging.getLogger(__name__)

NAME = "files.sqlite"
# A file written this recently may be written again without any change of its times, which are that coarse on some
# file systems; git calls such files racy.
SETTLED_NS = 2_000_000_000
# Seconds to wait for another process that writes.
PATIENCE = 30.0

State = tuple[int, int, int, int]


def state(path: Path) -> State:
    """Size in bytes, modification and change time in ns, inode: equal as long as nobody writes to the file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class FileFacts:
    """Remembers one text per file until the file changes.

    Args:
        folder: where the record is kept; made when something is remembered.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def known(self, paths: Iterable[Path]) -> dict[Path, str]:
        """The facts about those of `paths` that are as they were when they were remembered."""
        found: dict[Path, str] = {}
        if not self.path.exists():
            return found
        try:
            with closing(self._connect()) as database:
                for path in paths:
                    row = database.execute(
                        "SELECT size, modified, changed, inode, fact FROM files WHERE path = ?", (_key(path),)
                    ).fetchone()
                    if row is not None and _same(path, row[:4]):
                        found[path] = str(row[4])
        except sqlite3.Error as error:
            self._give_up(error)
        return found

    def remember(self, facts: Mapping[Path, tuple[State, str]]) -> None:
        """Record facts that were found out while the files were in the given states."""
        latest = time.time_ns() - SETTLED_NS
        rows = [(_key(path), *seen, fact) for path, (seen, fact) in facts.items() if max(seen[1:3]) < latest]
        if not rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def forget_missing(self) -> int:
        """Drop what is known about files that are gone or have changed; returns how many those were."""
        if not self.path.exists():
            return 0
        try:
            with closing(self._connect()) as database, database:
                rows = database.execute("SELECT path, size, modified, changed, inode FROM files").fetchall()
                gone = [(row[0],) for row in rows if not _same(Path(os.fsdecode(row[0])), row[1:])]
                database.executemany("DELETE FROM files WHERE path = ?", gone)
            return len(gone)
        except sqlite3.Error as error:
            self._give_up(error)
            return 0

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=PATIENCE)
        database.execute(
            "CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, modified INTEGER, "
            "changed INTEGER, inode INTEGER, fact TEXT) WITHOUT ROWID"
        )
        return database

    def _give_up(self, error: Exception) -> None:
        log.warning("%s cannot be used (%s); files are read again instead", self.path, error)
        # Locked, full and read-only are OperationalErrors and pass; a damaged file never gets better.
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self.path.unlink(missing_ok=True)


def _key(path: Path) -> bytes:
    # As bytes: names of files need not be valid text.
    return os.fsencode(path.absolute())


def _same(path: Path, seen: tuple[int, ...]) -> bool:
    try:
        return state(path) == tuple(seen)
    except OSError:
        return False
