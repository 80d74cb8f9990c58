"""Which sources exist, in the order they are built, and the interface every one of them has.

A source is a module with one function, ``plan(context) -> Plan``. Planning is pure and quick: it decides every
sample and every medium from the seed, and renders nothing. The builder then picks what it needs, renders the
media in worker processes and writes the files. To add a source: write the module, add one line to ``SOURCES``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from training.corpus.samples import Sample

#: name -> module; the order is the order of building (those that are composed read what the others wrote).
SOURCES: Mapping[str, str] = {
    "scenes": "training.corpus.scenes",
    "speech": "training.corpus.speech",
    "stamps": "training.corpus.stamps",
    "sounds": "training.corpus.sounds",
    "emoji": "training.corpus.emoji",
    "dialogs": "training.corpus.dialogs",
    "pairs": "training.corpus.pairs",
}
#: Those without media of their own.
COMPOSED = ("dialogs", "pairs")

#: Raise that of a source when its code changes what it makes: an older one is then built anew.
VERSIONS: Mapping[str, int] = dict.fromkeys(SOURCES, 2) | dict.fromkeys(("scenes", "sounds"), 1)


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a source may know: the seed, where the corpus lies, where packages are cached."""

    output: Path
    cache: Path
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One medium to make: ``render(**arguments)`` gives the bytes of the file.

    ``render`` is a module-level function and ``arguments`` are picklable: it runs in a worker process. It must depend
    on its arguments alone, so that an interrupted build can go on from the files already there.
    """

    render: Callable[..., bytes]
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All samples of a source, the jobs of the media they name (key: file name in ``media/``), and provenance."""

    train: list[Sample]
    test: list[Sample]
    jobs: dict[str, Job] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


def load(name: str) -> Callable[[Context], Plan]:
    """The ``plan`` function of source ``name``. Raises ValueError for an unknown source."""
    if name not in SOURCES:
        raise ValueError(f"sources: unknown source {name!r}; choose from {', '.join(SOURCES)}")
    return cast(Callable[[Context], Plan], importlib.import_module(SOURCES[name]).plan)
