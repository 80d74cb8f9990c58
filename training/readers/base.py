"""The interface of readers: a source in some format -> drafts of samples, in order, each with its place.

A format is a class with two methods: `records` walks through the source and says where each record stands, `drafts`
turns one record into turns of text and media. What is the same for all formats is here: which problems stop the reader,
what a medium may be named, and what makes turns a conversation. Nothing is decoded and nothing is written.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from model.errors import DataError
from training.data import find_file
from training.problems import Kind, OnProblem, ProblemLog, SampleError, required_log

# What a file holds by its name; the formats that `model.media` decodes.
SUFFIXES = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff"), "image"),
    **dict.fromkeys((".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"), "audio"),
}


@dataclass(frozen=True)
class Medium:
    """A picture or sound of a draft: a file, or bytes that were inside the source."""

    modality: str
    path: Path | None = None
    data: bytes | None = None


@dataclass(frozen=True)
class Turn:
    """One turn; media stand only in the user's."""

    role: str
    parts: Sequence[str | Medium]

    @property
    def text(self) -> str:
        """The text parts, one per line."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A conversation as a reader found it."""

    turns: Sequence[Turn]
    id: str | None = None
    """As the source has it; it need not be unique there."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a reader is told."""

    root: Path
    """Media are looked for here and must lie here, links resolved."""
    questions: Sequence[str] = ()
    """What to ask where a source has only captions, in turn; by default one plain question per modality."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> column, for tables whose columns have other names than the known ones."""
    split: str | None = None
    """Split of a Hugging Face dataset."""


class Reader(ABC):
    """A source of drafts.

    Args:
        source: file, folder, or whatever else the format takes.
        options: see there.
    """

    name: ClassVar[str]

    def __init__(self, source: str, options: Options) -> None:
        self.source, self.options = source, options
        self.left_out: set[str] = set()
        """Columns that no sample can hold, known at the end."""

    def read(self, *, on_problem: OnProblem = "error", problems: ProblemLog | None = None) -> Iterator[Draft]:
        """The drafts, in the order of the source.

        Args:
            on_problem: `error` stops at the first unusable record, `skip` leaves it out.
            problems: counts what is left out; `skip` needs one.

        Raises:
            DataError: the source cannot be read; or the first unusable record, by its place.
        """
        log = required_log(on_problem, problems)
        for where, record in self.records():
            try:
                if isinstance(record, SampleError):
                    raise record
                drafts = self.drafts(record)
                for draft in drafts:
                    check_turns(draft.turns)
            except SampleError as error:
                log.settle(error.at(where), on_problem)
            else:
                yield from (replace(draft, where=where) for draft in drafts)

    @abstractmethod
    def records(self) -> Iterator[tuple[str, Any]]:
        """Each record with its place; a `SampleError` in the place of one that cannot be decoded."""

    @abstractmethod
    def drafts(self, record: Any) -> Sequence[Draft]:
        """One record as samples; most formats have one in each.

        Raises:
            SampleError: the record is not what the format says.
        """

    def file(self, name: object, key: str) -> Path:
        """The file that a record names at `key`.

        Raises:
            SampleError: not a name, outside the root, or no such file.
        """
        if not isinstance(name, str) or not name.strip():
            raise SampleError(Kind.SHAPE, f"{key}: expected the name of a file, got {name!r}")
        if name.startswith(("data:", "http:", "https:")):
            raise SampleError(Kind.SHAPE, f"{key}: {name[:32]!r} is not a file; fetch the media first")
        return find_file(self.options.root / name, self.options.root, key)

    def question(self, media: Sequence[Medium], number: int) -> str:
        """What to ask about media that only have a caption."""
        if self.options.questions:
            return self.options.questions[number % len(self.options.questions)]
        seen = {medium.modality for medium in media}
        return {
            frozenset({"image"}): "Describe the picture.",
            frozenset({"audio"}): "Describe the sound.",
        }.get(frozenset(seen), "Describe what you see and hear.")


def check_turns(turns: Sequence[Turn]) -> None:
    """Refuse what is no conversation: an optional system turn, then user and assistant in turn, the assistant last.

    Raises:
        SampleError: which turn is out of order or empty, or holds a medium that it must not hold.
    """
    expected = "user"
    for index, turn in enumerate(turns):
        if turn.role == "system" and index == 0:
            pass
        elif turn.role != expected:
            raise SampleError(Kind.ROLE, f"turn {index + 1} is the {turn.role}'s, expected the {expected}'s")
        else:
            expected = "assistant" if expected == "user" else "user"
        if turn.role != "user" and any(isinstance(part, Medium) for part in turn.parts):
            raise SampleError(
                Kind.MISPLACED, f"turn {index + 1} is the {turn.role}'s and holds a medium; only the user's may"
            )
        if turn.role == "assistant" and not turn.text.strip():
            raise SampleError(Kind.EMPTY_ANSWER, f"turn {index + 1}: the assistant says nothing")
    if not turns or turns[-1].role != "assistant":
        raise SampleError(Kind.ROLE, "the last turn must be the assistant's")


def modality_of(path: Path) -> str:
    """What a file holds by its name.

    Raises:
        SampleError: neither a picture nor a sound.
    """
    modality = SUFFIXES.get(path.suffix.lower())
    if modality is None:
        raise SampleError(
            Kind.UNREADABLE, f"{path}: {path.suffix or 'a name without ending'} is not one of {', '.join(SUFFIXES)}"
        )
    return modality


def existing(source: str) -> Path:
    """The path of a source that is a file or folder.

    Raises:
        DataError: there is none.
    """
    path = Path(source)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    return path
