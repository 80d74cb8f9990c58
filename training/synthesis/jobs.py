"""Plans which dialogs are to be made: kind, language and media of each, decided by the seed before anything is written.

A job's id is a hash of all that its dialog depends on: generator and version of its instructions, kind, language, seed,
contents of the media, annotations. So what was made once is found again however the run was cut short, and what
changed is made anew. The plan is an order too: the samples are written in it, whichever was finished first.
"""

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from itertools import cycle
from pathlib import Path

from model.errors import ConfigurationError
from model.fields import check_choice, check_range
from training.synthesis.annotations import Medium
from training.synthesis.dialog import names_of
from training.synthesis.gather import Pool
from training.synthesis.kinds import KINDS
from training.synthesis.languages import LANGUAGES, MIXED, content_words

#: Raise when the code changes what is made of the same annotations or what is filtered.
VERSION = 1
MAX_MEDIA = 10
# Share of dialogs over several media in which two of them are chosen for a word that both have in common.
_RELATED = 0.5
# Groups drawn for each one wanted before the media count as exhausted.
_DRAWS = 20


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to make."""

    kinds: tuple[str, ...] = tuple(KINDS)
    languages: tuple[str, ...] = tuple(LANGUAGES)
    """`en`, `ms`, `mixed`; the dialogs of each kind are spread evenly over them."""
    count: int = 1000
    """Dialogs of each kind, fewer where the media do not suffice."""
    max_media: int = 4
    """In a dialog over several media."""
    seed: int = 0

    def __post_init__(self) -> None:
        for kind in self.kinds:
            check_choice("kind", kind, KINDS)
        for language in self.languages:
            check_choice("language", language, (*LANGUAGES, MIXED))
        check_range("count", self.count, 1, 10**9)
        check_range("max_media", self.max_media, 2, MAX_MEDIA)
        if len(set(self.kinds)) < len(self.kinds) or len(set(self.languages)) < len(self.languages):
            raise ConfigurationError("kinds and languages: each may be named once")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One dialog to make."""

    kind: str
    language: str
    media: tuple[Medium, ...]
    """In the order in which they are given."""
    seed: int
    generator: str
    """What is asked to make it, with the version of its templates or instructions."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the media, in order."""
        return names_of([medium.modality for medium in self.media])

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Contents of the media, in order."""
        return tuple(content_digest(medium) for medium in self.media)

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits."""
        annotations = [[asdict(each) for each in medium.annotations] for medium in self.media]
        return digest(VERSION, self.generator, self.kind, self.language, self.seed, self.digests, annotations)

    @property
    def samples(self) -> list[str]:
        """Ids of the samples whose annotations it is made from."""
        return list(dict.fromkeys(each.sample for medium in self.media for each in medium.annotations))

    def rng(self, purpose: str) -> random.Random:
        """Random numbers of this job alone."""
        return random.Random(f"{self.seed} {self.kind} {self.language} {' '.join(self.digests)} {purpose}")


@dataclass(kw_only=True)
class Plan:
    """The jobs in order, and what could not be planned, by reason."""

    jobs: list[Job] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


#: Whether a generator can make a dialog of a kind in a language from a medium.
Usable = Callable[[str, Medium, str], bool]


def plan(pool: Pool, request: Request, usable: Usable, generator: Callable[[str], str]) -> Plan:
    """Decide all jobs.

    Args:
        pool: the media.
        request: what to make.
        usable: of the generator.
        generator: its name and version by kind.
    """
    made = Plan()
    for kind in request.kinds:
        media = {
            language: [medium for medium in pool.media if usable(kind, medium, language)]
            for language in request.languages
        }
        groups = _several(kind, media, request) if KINDS[kind].several_media else _single(kind, media, request)
        before = len(made.jobs)
        for language, group in groups:
            version = generator(kind)
            made.jobs.append(
                Job(kind=kind, language=language, media=tuple(group), seed=request.seed, generator=version)
            )
        if missing := request.count - (len(made.jobs) - before):
            made.skipped[f"{kind} for lack of media with what it needs"] += missing
    return made


def _single(kind: str, media: dict[str, list[Medium]], request: Request) -> Iterator[tuple[str, list[Medium]]]:
    """Every medium once in each language, languages in turn, up to the count."""
    rng = random.Random(f"{request.seed} {kind}")
    left = {language: rng.sample(values, len(values)) for language, values in media.items()}
    for made, language in enumerate(_turns(left)):
        if made == request.count:
            return
        yield language, [left[language].pop()]


def _turns(left: dict[str, list[Medium]]) -> Iterator[str]:
    while languages := [language for language, values in left.items() if values]:
        yield from languages


def _several(kind: str, media: dict[str, list[Medium]], request: Request) -> Iterator[tuple[str, list[Medium]]]:
    """Groups of media, each medium used about equally often, no group twice in a language."""
    rng = random.Random(f"{request.seed} {kind}")
    tables = {language: _Table(values, language, rng) for language, values in media.items() if len(values) >= 2}
    seen: set[tuple[object, ...]] = set()
    made = 0
    turns = cycle(tables) if tables else ()
    for _, language in zip(range(request.count * _DRAWS), turns, strict=False):
        group = tables[language].draw(rng.randint(2, request.max_media))
        key = (language, *sorted(map(content_digest, group)))
        if len(set(key)) < 3 or len(set(key)) < len(key) or key in seen:
            continue  # one medium twice, perhaps under two names, or a group made before
        seen.add(key)
        made += 1
        yield language, group
        if made == request.count:
            return


class _Table:
    """Deals media evenly, by modality, and finds those that share a word."""

    def __init__(self, media: Sequence[Medium], language: str, rng: random.Random) -> None:
        self.rng = rng
        self.decks: dict[str, list[Medium]] = defaultdict(list)
        self.all: dict[str, list[Medium]] = defaultdict(list)
        self.by_word: dict[str, list[Medium]] = defaultdict(list)
        self.words: dict[int, list[str]] = {}
        for medium in media:
            self.all[medium.modality].append(medium)
            texts = [main.text for each in LANGUAGES if language in (each, MIXED) and (main := medium.main(each))]
            self.words[id(medium)] = sorted(content_words(" ".join(texts)))
            for word in self.words[id(medium)]:
                self.by_word[word].append(medium)

    def draw(self, size: int) -> list[Medium]:
        group = [self._deal()]
        if self.rng.random() < _RELATED and (related := self._related(group[0])):
            group.append(related)
        for _ in range(_DRAWS):
            if len(group) == size:
                break
            medium = self._deal()
            if all(medium is not each for each in group):
                group.append(medium)
        self.rng.shuffle(group)
        return group

    def _deal(self) -> Medium:
        modality = self.rng.choice(sorted(self.all))
        if not self.decks[modality]:
            self.decks[modality] = self.rng.sample(self.all[modality], len(self.all[modality]))
        return self.decks[modality].pop()

    def _related(self, medium: Medium) -> Medium | None:
        words = [word for word in self.words[id(medium)] if len(self.by_word[word]) > 1]
        if not words:
            return None
        others = [other for other in self.by_word[self.rng.choice(words)] if other is not medium]
        return self.rng.choice(others)


def digest(*values: object) -> str:
    """16 hexadecimal digits that stand for values that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def content_digest(medium: Medium) -> str:
    """16 hexadecimal digits that stand for the bytes of a medium, whatever it is called."""
    path = medium.reference.path
    return digest(_file_digest(path, path.stat().st_mtime_ns), medium.reference.row)


@lru_cache(maxsize=1 << 20)
def _file_digest(path: Path, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
