"""The outcome of every job, one JSON line each, appended as soon as it is known.

A line is written by one system call, so that a process that is killed leaves whole lines behind, except perhaps the
last, which the next run cuts off. A job with an outcome is not done again. Lines of jobs that are no longer asked for
(other settings, changed annotations) stay and do no harm. One run at a time may write.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout
from pydantic import ValidationError

from model.errors import DataError
from training.synthesis.dialog import Dialog, Draft
from training.synthesis.filters import REASONS, Rejection


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job: a draft that passed the filters or None, and the drafts that did not, by reason."""

    job: str
    draft: Draft | None
    rejections: tuple[Rejection, ...] = ()


class Journal:
    """Outcomes by job id, in a file; a context manager that holds the file's lock.

    Raises:
        DataError: another run writes, or a line that no run wrote.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        self._file = -1

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise DataError(f"{self.path.parent}: another run is writing here; wait for it to end") from None
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._read()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file and its lock back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()

    def append(self, outcome: Outcome) -> None:
        """Note an outcome, on disk first.

        Raises:
            DataError: it cannot be written, for example because the disk is full; the file is as before.
        """
        draft = outcome.draft
        values = {
            "job": outcome.job,
            "dialog": draft and draft.dialog.model_dump(),
            "templates": list(draft.templates) if draft else [],
            "rejections": [asdict(each) for each in outcome.rejections],
        }
        line = (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(28, "No space left on device")
        except OSError as error:
            os.ftruncate(self._file, size)
            raise DataError(f"{self.path}: cannot be written ({error.strerror}); run again to continue") from None
        self.outcomes[outcome.job] = outcome

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)  # the last line of a run that was killed
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                outcome = _parse(json.loads(line))
            except (ValueError, KeyError, TypeError, ValidationError):
                raise DataError(
                    f"{self.path}:{number}: not a line that a run of `quartet data synthesise` wrote; remove the line, "
                    "or the file to begin anew"
                ) from None
            self.outcomes[outcome.job] = outcome


def _parse(values: Mapping[str, Any]) -> Outcome:
    rejections = tuple(Rejection(str(each["reason"]), str(each["detail"])) for each in values["rejections"])
    if any(each.reason not in REASONS for each in rejections) or not isinstance(values["job"], str):
        raise ValueError("unknown reason or id")
    if values["dialog"] is None:
        return Outcome(job=values["job"], draft=None, rejections=rejections)
    draft = Draft(dialog=Dialog.model_validate(values["dialog"]), templates=tuple(map(str, values["templates"])))
    return Outcome(job=values["job"], draft=draft, rejections=rejections)
