"""METEOR through NLTK: words aligned exactly, by stem and by synonym.

Sources: Banerjee and Lavie 2005; the parameters are those of Lavie and Agarwal 2007, alpha 0.9, beta 3, gamma 0.5:
10PR/(R+9P) times 1 - 0.5 (chunks / matches)^3. A perfect answer of one word therefore scores 0.5, of two 0.94.

Stems (Porter's) and synonyms (WordNet's) are English: answers in any other language are aligned exactly, and synonyms
are only used where NLTK finds WordNet on this machine. `Meteor.modules` says what was used; results with different
modules are different metrics.
"""

from dataclasses import dataclass
from typing import Any

ENGLISH = "en"
MATCHERS = ("exact", "stem", "synonym")


@dataclass(frozen=True)
class MeteorScore:
    """METEOR, and the same without the penalty for order, 0..1."""

    score: float
    harmonic_mean: float


class Meteor:
    """Scores answers against one reference.

    Args:
        synonyms: use WordNet; by default wherever NLTK finds it.

    Raises:
        LookupError: synonyms asked for, and no WordNet; the message says where NLTK looked.
    """

    def __init__(self, synonyms: bool | None = None) -> None:
        self._wordnet: Any = _NoWordNet() if synonyms is False else find_wordnet(required=synonyms is True)

    @property
    def modules(self) -> str:
        """What words are aligned by, such as `exact, stem`."""
        return ", ".join(MATCHERS[: 2 if isinstance(self._wordnet, _NoWordNet) else 3])

    def __call__(self, answer: str, reference: str, language: str = ENGLISH) -> MeteorScore:
        """Score an answer; both are split into words and marks of punctuation, in lower case."""
        from nltk.stem.porter import PorterStemmer
        from nltk.tokenize import wordpunct_tokenize
        from nltk.translate.meteor_score import single_meteor_score

        english = language == ENGLISH
        words = [wordpunct_tokenize(text) for text in (reference, answer)]
        tools = {
            "stemmer": PorterStemmer() if english else _NoStemmer(),
            "wordnet": self._wordnet if english else _NoWordNet(),
        }
        score, mean = (float(single_meteor_score(*words, gamma=gamma, **tools)) for gamma in (0.5, 0.0))
        return MeteorScore(score, mean)


def find_wordnet(*, required: bool = False) -> Any:
    """NLTK's WordNet, or one without any synonym where there is none.

    Raises:
        LookupError: required, and NLTK does not find it.
    """
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        if required:
            raise
        return _NoWordNet()
    return wordnet


class _NoWordNet:
    """No word has synonyms."""

    def synsets(self, word: str) -> list[Any]:
        return []


class _NoStemmer:
    """Every word is its own stem."""

    def stem(self, word: str) -> str:
        return word
