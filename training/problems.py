"""Problems of training data: what kinds there are, where each one is, and what is done about it.

A reader either stops at the first problem (`error`) or leaves the sample out and goes on (`skip`). Left out is never
lost: whoever asks for `skip` hands over a `ProblemLog`, which counts every problem by kind and source, keeps the first
of them to be shown, and can write all of them to a file. Its memory does not grow with the number of problems.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from model.errors import DataError

OnProblem = Literal["error", "skip"]
# Problems kept to be shown; the others are only counted.
SHOWN = 20


class Kind(StrEnum):
    """What can be wrong; the value is the name people read."""

    SYNTAX = "not readable"
    SHAPE = "not a sample"
    ROLE = "odd role"
    EMPTY_ANSWER = "empty answer"
    MISPLACED = "medium in the wrong turn"
    MARKER = "marker without medium, or medium without marker"
    OUTSIDE = "medium outside its folder"
    MISSING = "missing medium"
    UNREADABLE = "unreadable medium"
    NO_CAPTION = "no caption"
    UNUSED = "file not used"
    DUPLICATE_ID = "duplicate id"
    DUPLICATE_SAMPLE = "duplicate sample"
    LEAK = "medium of training in test"
    TOO_LONG = "too long"
    PROMPT = "not a prompt"


@dataclass(frozen=True)
class Problem:
    """One problem."""

    where: str
    """`file:line`, or `file, record N` where there are no lines."""
    kind: Kind
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class SampleError(DataError):
    """A sample, or something that should have become one, is unusable.

    Args:
        kind: what is wrong with it.
        message: what is wrong and what to do.
        where: place of the sample, once it is known.
    """

    def __init__(self, kind: Kind, message: str, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.kind, self.message, self.where = kind, message, where

    def at(self, where: str) -> "SampleError":
        """The same error, its place known."""
        return SampleError(self.kind, self.message, where)

    @property
    def problem(self) -> Problem:
        """What a log keeps of it."""
        return Problem(self.where, self.kind, self.message)


class ProblemLog:
    """Counts problems, shows the first of them, and on request writes every one to a file of JSON lines.

    Args:
        shown: problems kept to be shown.
        file: receives `{"where", "kind", "message"}` of every problem; it appears with the first one.
    """

    def __init__(self, shown: int = SHOWN, file: Path | None = None) -> None:
        self.kinds: Counter[Kind] = Counter()
        self.first: list[Problem] = []
        self.file = file
        self._shown = shown
        self._stream: IO[str] | None = None

    def add(self, problem: Problem) -> None:
        """Count one."""
        self.kinds[problem.kind] += 1
        if len(self.first) < self._shown:
            self.first.append(problem)
        if self.file is not None:
            if self._stream is None:
                self._stream = self.file.open("w", encoding="utf-8")
            line = {"where": problem.where, "kind": problem.kind, "message": problem.message}
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")

    def settle(self, error: SampleError, on_problem: OnProblem) -> None:
        """Raise the error, or count it and let the reader go on.

        Raises:
            SampleError: the policy is `error`.
        """
        if on_problem == "error":
            raise error from None
        self.add(error.problem)

    @property
    def total(self) -> int:
        """Problems so far."""
        return self.kinds.total()

    def lines(self) -> Iterator[str]:
        """What to show a person: the first problems, how many more there are, and the counts by kind."""
        if not self.total:
            return
        for problem in self.first:
            yield f"{problem.where}: {problem.kind}: {problem.message}"
        if rest := self.total - len(self.first):
            yield f"... and {rest} more" + (f", all of them in {self.file}" if self.file else "")
        yield ", ".join(f"{count} {kind}" for kind, count in self.kinds.most_common())

    def close(self) -> None:
        """End the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def required_log(on_problem: OnProblem, problems: ProblemLog | None) -> ProblemLog:
    """The log to count in; whoever skips must look at it.

    Raises:
        ValueError: `skip` without a log.
    """
    if problems is None and on_problem == "skip":
        raise ValueError("problems: give a ProblemLog with on_problem='skip', so that nothing is lost unseen")
    return problems or ProblemLog()
