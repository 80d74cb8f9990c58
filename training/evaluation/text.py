"""Accuracy of generated text: word for word, and after a normalisation that forgives form but not content."""

import re
import string
import unicodedata

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def exact(answer: str, reference: str) -> bool:
    """Whether both are the same text, outer white space aside."""
    return answer.strip() == reference.strip()


def normalise(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no English articles, single spaces.

    Source: Rajpurkar et al. 2016 (arXiv 1606.05250), section 6.1 and its `evaluate-v1.1.py`; punctuation here is
    that of every script, and letters are compared in Unicode's compatibility form.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    letters = "".join(c for c in folded if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    # What stood apart may now stand beside an accent.
    letters = unicodedata.normalize("NFKC", letters)
    return " ".join(_ARTICLES.sub(" ", letters).split())


def normalised(answer: str, reference: str) -> bool:
    """Whether both are the same after `normalise`; a reference of punctuation alone must match word for word."""
    wanted = normalise(reference)
    return normalise(answer) == wanted if wanted else exact(answer, reference)
