"""MMMU's answer parsing: which option, or which value, a free answer names.

Source: Yue et al. 2024 (arXiv 2311.16502), section 4.1, and the rules of its released scorer. The one deviation: where
an answer names no option, the released scorer draws one from a generator that all questions share, so that a score
depends on their order; here it is drawn from the question's own id, and counted.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SEED = 42
"""Of the released scorer."""

_EDGES = (",", ".", "!", "?", ";", ":", "'")
_INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
# An answer of at most this many words is not searched for the options' texts.
_FEW_WORDS = 5
_GROUPED = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")


class Choice(NamedTuple):
    """The option an answer names, and whether it was found rather than drawn."""

    letter: str
    found: bool


def letters(options: Sequence[str]) -> dict[str, str]:
    """Options by their letters, A first."""
    return {chr(ord("A") + index): option for index, option in enumerate(options)}


def parse_choice(answer: str, options: Mapping[str, str], name: str) -> Choice:
    """The option that an answer names: `(B)`, else ` B `, else (in longer answers) its text; the last one counts.

    Args:
        answer: the model's.
        options: texts by letter.
        name: the question's id, which the draw depends on where nothing is found.
    """
    for mark in _EDGES:
        answer = answer.strip(mark)
    text = f" {answer} "
    places = {letter: text.rfind(f"({letter})") for letter in options}
    if max(places.values()) < 0:
        places = {letter: text.rfind(f" {letter} ") for letter in options}
    if max(places.values()) < 0 and len(text.split()) > _FEW_WORDS:
        places = {letter: text.lower().rfind(option.lower()) for letter, option in options.items()}
    best = max(places, key=places.__getitem__)
    if places[best] < 0:
        return Choice(random.Random(f"{SEED}/{name}").choice(list(options)), found=False)
    return Choice(best, found=True)


def parse_open(answer: str) -> list[str | float]:
    """What an answer to an open question may mean: key phrases and numbers, normalised, each once."""
    phrases = _key_phrases(answer)
    numbers = [number for phrase in phrases for number in _numbers(phrase)]
    found = [value for part in (*phrases, *numbers) for value in normalise(part)]
    return list(dict.fromkeys(found))


def open_is_right(answer: str, references: Sequence[str]) -> bool:
    """Whether an answer means one of the references: a text inside a phrase of it, or the same number."""
    wanted = [value for reference in references for value in normalise(reference)]
    for meant in parse_open(answer):
        if isinstance(meant, str) and any(isinstance(value, str) and value in meant for value in wanted):
            return True
        if isinstance(meant, float) and meant in wanted:
            return True
    return False


def normalise(text: str) -> list[str | float]:
    """A number as a float of two digits; a text in lower case, a single letter with a space on either side of it."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def _key_phrases(answer: str) -> list[str]:
    """What follows the last word such as `is` or `therefore` of each sentence, the shortest of them."""
    text = answer.strip().strip(".").lower()
    # The answer is in lower case by now, so the released scorer's split at `. ` before a capital never happens.
    sentences = text.split("\n")
    phrases = []
    for index, sentence in enumerate(sentences):
        # Only the last one may be an equation.
        indicators = (*_INDICATORS, "=") if index == len(sentences) - 1 else _INDICATORS
        ends = [sentence.split(indicator)[-1].strip() for indicator in indicators if indicator in sentence]
        shortest = ""
        for end in ends:
            if not shortest or len(end) < len(shortest):
                shortest = end
        if shortest and shortest not in _EDGES:
            phrases.append(shortest)
    return phrases or [text]


def _numbers(text: str) -> list[str]:
    return [*_GROUPED.findall(text), *_SCIENTIFIC.findall(text), *_SIMPLE.findall(text)]
