"""What all templates share: how media are called, whose turn it is in which language, what was asked already."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from training.synthesis.annotations import TRANSCRIPT, Annotation, Medium
from training.synthesis.dialog import Dialog, Draft, Turn
from training.synthesis.jobs import Job
from training.synthesis.languages import LANGUAGES, MIXED, clause, listed, normalised, number, ordinal
from training.synthesis.templates.phrases import phrase

_NOUNS = {
    "image": {"en": ("picture", "pictures"), "ms": ("gambar", "gambar")},
    "audio": {"en": ("sound", "sounds"), "ms": ("bunyi", "bunyi")},
    "speech": {"en": ("recording", "recordings"), "ms": ("rakaman", "rakaman")},
}


@dataclass(frozen=True)
class Said:
    """A question, its answer, the name of the template, and the media whose main annotation the answer gives."""

    question: str
    answer: str
    template: str
    about: tuple[str, ...] = ()
    whole: bool = False
    """Whether template and media say all there is to the question, so that it need not be asked in other words."""


class Builder:
    """Puts the turns of one dialog together.

    Args:
        job: what to make.
        rng: decides every choice of words.
    """

    def __init__(self, job: Job, rng: random.Random) -> None:
        self.job = job
        self.rng = rng
        self.given: list[str] = []
        """Names of the media given so far."""
        self.told: set[str] = set()
        """Names of the media whose main annotation was said."""
        self.turns: list[Turn] = []
        self.templates: list[str] = []
        self._asked: set[tuple[object, ...]] = set()
        self._media = dict(zip(job.names, job.media, strict=True))
        self._languages = list(LANGUAGES) if job.language == MIXED else [job.language]
        rng.shuffle(self._languages)

    @property
    def language(self) -> str:
        """Of the turn that comes next; mixed dialogs change with every turn."""
        return self._languages[len(self.turns) % len(self._languages)]

    @property
    def other(self) -> str:
        """The language that is not this turn's."""
        return next(each for each in LANGUAGES if each != self.language)

    def medium(self, name: str) -> Medium:
        """The medium of a name."""
        return self._media[name]

    def main(self, name: str, language: str | None = None) -> Annotation:
        """What says best what a medium is, in the language of the turn."""
        found = self.medium(name).main(language or self.language)
        assert found is not None, "the plan only takes media that have one"
        return found

    def text(self, name: str) -> str:
        """The main annotation, to be quoted after a colon."""
        return clause(self.main(name).text)

    def say(self, phrasing: str, **values: str) -> str:
        """One phrasing in the language of the turn."""
        return phrase(self.rng, phrasing, self.language, **values)

    def noun(self, name: str, *, many: bool = False) -> str:
        """What a medium is called: picture, sound, or recording where every sound of the dialog is speech."""
        modality = self.medium(name).modality
        sounds = [medium for medium in self.job.media if medium.modality == "audio"]
        if modality == "audio" and all(medium.known(TRANSCRIPT) for medium in sounds):
            modality = "speech"
        return _NOUNS[modality][self.language][many]

    def it(self, name: str) -> str:
        """A medium in a sentence: `the picture`, `the second picture`; `gambar itu`, `gambar kedua`."""
        noun, (modality, place) = self.noun(name), name.split()
        alone = sum(medium.modality == modality for medium in self.job.media) == 1
        if self.language == "en":
            return f"the {noun}" if alone else f"the {ordinal(int(place), 'en')} {noun}"
        return f"{noun} itu" if alone else f"{noun} {ordinal(int(place), 'ms')}"

    def counted(self, names: Sequence[str]) -> str:
        """`two pictures and one sound`."""
        kinds = dict.fromkeys(name.split()[0] for name in names)
        groups = [[name for name in names if name.startswith(kind)] for kind in kinds]
        counts = [f"{number(len(group), self.language)} {self.noun(group[0], many=len(group) > 1)}" for group in groups]
        return listed(counts, self.language)

    def add(self, said: Said | None, media: Sequence[str] = ()) -> bool:
        """Add a turn; not if there is none, or if it asks in whatever words what was asked before."""
        if said is None:
            return False
        # The same question about more media is another one; one of the data set is known by its words alone.
        same_template = (said.template, said.about, len(self.given)) if said.whole else ()
        keys = {same_template, (normalised(said.question),)} - {()}
        if not media and keys & self._asked:
            return False
        self._asked |= keys
        self.turns.append(Turn(media=list(media), question=said.question, answer=said.answer))
        self.templates.append(said.template)
        self.told.update(said.about)
        return True

    def draft(self) -> Draft:
        """The dialog so far."""
        return Draft(dialog=Dialog(turns=self.turns), templates=tuple(self.templates))
