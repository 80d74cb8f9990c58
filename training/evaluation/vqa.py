"""VQA's soft accuracy: an answer is as right as the number of annotators who gave it, up to three.

Source: Antol et al. 2015 (arXiv 1505.00468), section 5; Goyal et al. 2017 for v2. Answers are normalised as EvalAI's
processor does before they are compared, which is what VQA v2, OK-VQA and TextVQA are scored with.
"""

import re
from collections.abc import Sequence

ENOUGH = 3
"""Annotators whose agreement makes an answer fully right."""

_ARTICLES = ("a", "an", "the")
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())} | {"none": "0"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
# A period goes unless a digit follows it.
_PERIOD = re.compile(r"\.(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"(?<=\d),+(?=\d)")

# The published table maps each of these, spelled without one of its apostrophes, to the right spelling. Words that are
# words without it too (we'll, he'll, she'd) are left out there, and one entry is the other way round.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:position] + word[position + 1 :]: word
    for word in _CONTRACTED.split()
    for position, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}


def normalise(answer: str) -> str:
    """EvalAI's normalisation: case, punctuation, articles, number words up to ten, contractions."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    text = _PERIOD.sub("", _without_punctuation(text))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_accuracy(answer: str, annotations: Sequence[str]) -> float:
    """Mean over annotators of min(1, how many of the *others* gave this answer / 3), 0..1.

    Args:
        answer: the model's.
        annotations: one answer per annotator, ten in VQA and OK-VQA (five people twice).
    """
    given, wanted = normalise(answer), [normalise(annotation) for annotation in annotations]
    matches = wanted.count(given)
    scores = [min(1.0, (matches - (other == given)) / ENOUGH) for other in wanted]
    return sum(scores) / len(scores)


def _without_punctuation(text: str) -> str:
    """A mark beside a space vanishes, as all do in a text with a comma inside a number; any other becomes a space."""
    found = text
    for mark in _PUNCTUATION:
        vanishes = f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text) is not None
        found = found.replace(mark, "" if vanishes else " ")
    return found
