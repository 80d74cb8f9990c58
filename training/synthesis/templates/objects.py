"""Questions that can be answered from the objects of a picture and their boxes: what, how many, where, which side."""

import itertools
import random
from collections.abc import Iterator

from training.synthesis.annotations import OBJECT, Annotation, Box, Medium
from training.synthesis.english import plural
from training.synthesis.languages import listed, number, sentence
from training.synthesis.templates.builder import Said
from training.synthesis.templates.phrases import phrase

# Fractions of the picture: closer centres are not clearly left and right of each other, closer areas not larger.
_APART, _LARGER = 0.15, 2.0
_PLACES = {
    "en": (
        ("at the top left", "at the top", "at the top right"),
        ("on the left", "in the centre", "on the right"),
        ("at the bottom left", "at the bottom", "at the bottom right"),
    ),
    "ms": (
        ("di kiri atas", "di bahagian atas", "di kanan atas"),
        ("di sebelah kiri", "di tengah", "di sebelah kanan"),
        ("di kiri bawah", "di bahagian bawah", "di kanan bawah"),
    ),
}


class Objects:
    """The objects of a picture in one language, grouped by name."""

    def __init__(self, medium: Medium, language: str) -> None:
        self.language = language
        self.groups: dict[str, list[Annotation]] = {}
        for each in medium.known(OBJECT, language) if medium.modality == "image" else ():
            self.groups.setdefault(each.text.lower(), []).append(each)

    def __bool__(self) -> bool:
        return bool(self.groups)

    def counted(self, name: str) -> str:
        """`three dogs`, `tiga anjing`."""
        count = len(self.groups[name])
        noun = plural(name) if self.language == "en" and count > 1 else name
        return f"{number(count, self.language)} {noun}"

    @property
    def things(self) -> str:
        """`three dogs and one cat`."""
        return listed([self.counted(name) for name in self.groups], self.language)

    @property
    def single(self) -> dict[str, Box]:
        """Names of which there is just one, whose box is known."""
        return {name: found[0].box for name, found in self.groups.items() if len(found) == 1 and found[0].box}

    def questions(self, rng: random.Random) -> list[Said]:
        """Everything that can be asked, in random order, each once."""
        found = [*self._what(rng), *self._how_many(rng), *self._where(rng), *self._side(rng)]
        rng.shuffle(found)
        return found

    def reasons(self, rng: random.Random) -> list[Said]:
        """Questions whose answers give a reason, in random order."""
        found = [*self._more(rng), *self._further_left(rng), *self._larger(rng)]
        rng.shuffle(found)
        return found

    def facts(self, rng: random.Random) -> list[str]:
        """Sentences for a description: what there is, and where."""
        if not self:
            return []
        what = self._say(rng, "objects/there/answer", things=self.things)
        places = [
            sentence(f"the {name} is {place(box, 'en')}")
            if self.language == "en"
            else sentence(f"{name} berada {place(box, 'ms')}")
            for name, box in self.single.items()
        ]
        return [what, *places]

    def _say(self, rng: random.Random, name: str, **values: str) -> str:
        return phrase(rng, name, self.language, **values)

    def _what(self, rng: random.Random) -> Iterator[Said]:
        if self:
            answer = self._say(rng, "objects/there/answer", things=self.things)
            yield Said(self._say(rng, "objects/there"), answer, "objects/there")

    def _how_many(self, rng: random.Random) -> Iterator[Said]:
        for name, found in self.groups.items():
            count = number(len(found), self.language)
            question = self._say(rng, "objects/how-many", one=name, many=plural(name))
            answer = self._say(
                rng, "objects/how-many/answer", number=count, one=name, counted=self.counted(name).partition(" ")[2]
            )
            yield Said(question, answer, "objects/how-many")

    def _where(self, rng: random.Random) -> Iterator[Said]:
        for name, box in self.single.items():
            answer = self._say(rng, "objects/where/answer", one=name, place=place(box, self.language))
            yield Said(self._say(rng, "objects/where", one=name), answer, "objects/where")

    def _side(self, rng: random.Random) -> Iterator[Said]:
        for a, b, left in self._sides(rng):
            side = "objects/side/left" if left else "objects/side/right"
            yield Said(self._say(rng, "objects/side", a=a, b=b), self._say(rng, side, a=a, b=b), "objects/side")

    def _sides(self, rng: random.Random) -> Iterator[tuple[str, str, bool]]:
        """Pairs that are clearly beside each other, in random order within, and whether the first is on the left."""
        for pair in itertools.combinations(self.single, 2):
            a, b = rng.sample(pair, 2)
            (xa, _), (xb, _) = centre(self.single[a]), centre(self.single[b])
            if abs(xa - xb) > _APART:
                yield a, b, xa < xb

    def _more(self, rng: random.Random) -> Iterator[Said]:
        for pair in itertools.combinations(self.groups, 2):
            if len(self.groups[pair[0]]) == len(self.groups[pair[1]]):
                continue
            more, fewer = sorted(pair, key=lambda name: -len(self.groups[name]))
            a, b = rng.sample(pair, 2)
            question = self._say(rng, "reason/more", a=a, b=b, many_a=plural(a), many_b=plural(b))
            counts = {"counted_a": self.counted(more), "counted_b": self.counted(fewer)}
            answer = self._say(rng, "reason/more/answer", a=more, many_a=plural(more), **counts)
            yield Said(question, answer, "reason/more")

    def _further_left(self, rng: random.Random) -> Iterator[Said]:
        for a, b, left in self._sides(rng):
            first, second = (a, b) if left else (b, a)
            places = [place(self.single[name], self.language) for name in (first, second)]
            if places[0] == places[1]:
                continue
            values = {"first": first, "second": second, "place_first": places[0], "place_second": places[1]}
            answer = self._say(rng, "reason/left/answer", **values)
            yield Said(self._say(rng, "reason/left", a=a, b=b), answer, "reason/left")

    def _larger(self, rng: random.Random) -> Iterator[Said]:
        for pair in itertools.combinations(self.single, 2):
            a, b = rng.sample(pair, 2)
            first, second = sorted(pair, key=lambda name: -area(self.single[name]))
            if area(self.single[first]) < _LARGER * area(self.single[second]):
                continue
            shares = [str(max(1, round(100 * area(self.single[name])))) for name in (first, second)]
            values = {"first": first, "second": second, "share_first": shares[0], "share_second": shares[1]}
            answer = self._say(rng, "reason/larger/answer", **values)
            yield Said(self._say(rng, "reason/larger", a=a, b=b), answer, "reason/larger")


def centre(box: Box) -> tuple[float, float]:
    """The middle of a box, across and down."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def area(box: Box) -> float:
    """The share of the picture that a box covers."""
    return (box[2] - box[0]) * (box[3] - box[1])


def place(box: Box, language: str) -> str:
    """In which of nine equal parts of the picture the centre of a box lies."""
    across, down = (min(2, int(3 * each)) for each in centre(box))
    return _PLACES[language][down][across]
