"""Finds which media a text speaks of: `image 2`, `the third picture`, `the recording`, `gambar kedua`, `bunyi itu`.

What counts is a number, an ordinal or a word that points ("the", "both"); "how many pictures hang on the wall" points
at nothing. "Sound" alone is no pointer either, because pictures are asked about the sound of things in them.
"""

import re
from dataclasses import dataclass

from training.synthesis.languages import NUMBERS, ORDINALS

_NOUNS = {
    "en": {
        "image": r"(?:images?|pictures?|photos?|photographs?)",
        "audio": r"(?:audios?|recordings?|(?:audio |sound )?clips?|sounds?)",
    },
    "ms": {"image": r"(?:gambar|imej|foto)", "audio": r"(?:audio|rakaman|klip (?:audio|bunyi)|bunyi)"},
}
_POINTED = {
    "en": {"image": _NOUNS["en"]["image"], "audio": r"(?:audios?|recordings?|(?:audio|sound) clips?)"},
    "ms": {"image": _NOUNS["ms"]["image"], "audio": r"(?:audio|rakaman|klip (?:audio|bunyi))"},
}
_POINTERS = {"en": r"(?:the|this|that|these|those|both|each|another|last|next)", "ms": r"(?:ini|itu|tersebut|tadi)"}
_COUNTS = {word: count for names in NUMBERS.values() for count, word in enumerate(names)}
_PLACES = {word: place for names in ORDINALS.values() for place, word in enumerate(names, 1)}
_FIGURE = r"(?:no\.? ?|number |nombor |#)?(\d{1,3})\b"


@dataclass(frozen=True)
class Mention:
    """A medium that a text speaks of."""

    modality: str
    number: int | None
    """Which of its modality, from 1 on; None where the text does not say."""
    words: str
    """As the text has it."""


def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Patterns by modality; a group, where there is one, says which medium."""
    places = {language: "|".join(names) for language, names in ORDINALS.items()}
    patterns = []
    for modality in ("image", "audio"):
        for language, nouns in _NOUNS.items():
            noun, pointed, pointer = nouns[modality], _POINTED[language][modality], _POINTERS[language]
            # `sounds 3 times` is a verb.
            patterns.append((modality, rf"\b{noun} {_FIGURE}(?! times| kali)"))
            patterns.append((modality, rf"\b{noun} \d{{1,3}}(?:,| and| dan| &) {_FIGURE}(?! times| kali)"))
            if language == "en":
                patterns.append((modality, rf"\b({places['en']}|\d{{1,2}}(?:st|nd|rd|th)) (?:and (?:\w+ ))?{noun}\b"))
                patterns.append((modality, rf"\b(?:\w+ and )({places['en']}) {noun}\b"))
                patterns.append((modality, rf"\b{noun} ({'|'.join(NUMBERS['en'][1:])})\b"))
                patterns.append((modality, rf"\b{pointer} (?:two |three |four )?{pointed}\b()"))
            else:
                patterns.append((modality, rf"\b{noun} (?:yang )?({places['ms']})\b(?!-)"))
                patterns.append((modality, rf"\b{noun} \w+ dan ({places['ms']})\b(?!-)"))
                patterns.append((modality, rf"\b{pointed} (?:yang )?{pointer}\b()"))
    return [(modality, re.compile(pattern, re.IGNORECASE)) for modality, pattern in patterns]


_PATTERNS = _patterns()


def mentions(text: str) -> list[Mention]:
    """Every medium that a text speaks of; one that it speaks of in two ways may be there twice."""
    text = " ".join(text.split())
    return [
        Mention(modality, _number(match[1]), match[0])
        for modality, pattern in _PATTERNS
        for match in pattern.finditer(text)
    ]


def _number(text: str) -> int | None:
    word = text.lower()
    figures = re.match(r"\d+", word)
    if figures:
        return int(figures[0])
    return _PLACES.get(word) or _COUNTS.get(word)
