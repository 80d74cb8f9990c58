"""Every metric against numbers worked out by hand and the behaviour of the published scorers."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation import mmmu, pope, text, vqa
from training.evaluation.journey import WEIGHTS, integral
from training.evaluation.meteor import Meteor

# --- accuracy


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("The Eiffel Tower.", "eiffel tower", True),
        ("  a   red  CAT ", "Red cat", True),
        ("U.S.A.", "usa", True),
        ("sebuah “kucing” merah!", "Sebuah kucing merah", True),
        ("two cats", "2 cats", False),
        ("cat red", "red cat", False),
        ("", "cat", False),
        ("?", "!", False),
        ("the", "a", False),
    ],
)
def test_normalised_accuracy_forgives_form_only(answer: str, reference: str, right: bool) -> None:
    assert text.normalised(answer, reference) is right


def test_exact_accuracy_forgives_outer_space_only() -> None:
    assert text.exact(" cat\n", "cat")
    assert not text.exact("Cat", "cat")


@settings(deadline=None)
@given(st.text())
def test_normalisation_is_done_once(words: str) -> None:
    assert text.normalise(text.normalise(words)) == text.normalise(words)


# --- METEOR

# The example of NLTK's documentation and of Papineni et al. 2002. Worked out: the released aligner matches 12 of
# 18 and 16 words by exact form and stem, so P = 12/18, R = 12/16, 10PR/(R+9P) = 0.7407, in 6 chunks.
GUIDE = "It is a guide to action which ensures that the military always obeys the commands of the party"
REFERENCE = "It is a guide to action that ensures that the military will forever heed Party commands"


def test_meteor_is_the_published_one() -> None:
    found = Meteor(synonyms=False)(GUIDE, REFERENCE)
    assert found.harmonic_mean == pytest.approx(10 * (12 / 18) * (12 / 16) / (12 / 16 + 9 * 12 / 18))
    assert round(found.score, 4) == 0.6944
    assert Meteor(synonyms=False)("non matching hypothesis", "this is a cat").score == 0


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("cat", "cat", 0.5),  # one chunk of one match: the penalty is 0.5 * 1
        ("red cat", "red cat", 1 - 0.5 / 8),
        ("cat red", "red cat", 0.5),
        ("Cats", "cat", 0.5),  # by stem
        ("cat", "red cat", 0.5 * 10 * 0.5 / (0.5 + 9)),  # P 1, R 1/2
        ("", "cat", 0.0),
    ],
)
def test_meteor_by_hand(answer: str, reference: str, score: float) -> None:
    assert Meteor(synonyms=False)(answer, reference).score == pytest.approx(score)


def test_english_stems_are_for_english() -> None:
    meteor = Meteor(synonyms=False)
    assert meteor("cats", "cat", "en").score == 0.5
    assert meteor("cats", "cat", "ms").score == 0


def test_synonyms_count_where_wordnet_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WordNet of two words in the place of the real one, which is not everywhere."""
    from training.evaluation import meteor

    class Lemma:
        def name(self) -> str:
            return "auto"

    class Synset:
        def lemmas(self) -> list[Lemma]:
            return [Lemma()]

    class WordNet:
        def synsets(self, word: str) -> list[Synset]:
            return [Synset()] if word == "car" else []

    monkeypatch.setattr(meteor, "find_wordnet", lambda required: WordNet())
    with_synonyms = Meteor(synonyms=True)
    assert with_synonyms.modules == "exact, stem, synonym"
    assert with_synonyms("car", "auto").score == 0.5
    assert with_synonyms("car", "auto", "ms").score == 0
    assert Meteor(synonyms=False).modules == "exact, stem"
    assert Meteor(synonyms=False)("car", "auto").score == 0


def test_without_wordnet_meteor_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk.corpus

    class Missing:
        def ensure_loaded(self) -> None:
            raise LookupError("corpora/wordnet")

    monkeypatch.setattr(nltk.corpus, "wordnet", Missing())
    assert Meteor().modules == "exact, stem"
    with pytest.raises(LookupError, match="wordnet"):
        Meteor(synonyms=True)


# --- VQA


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The  cat", "cat"),
        ("two", "2"),
        ("None", "0"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("10,000 people", "10000 people"),
        ("red/green", "red green"),
        ("red / green", "red green"),
        ("yes.", "yes"),
        ("3.5 m.", "3.5 m"),
        ("What?", "what"),
        ("the dog's bowl", "dog 's bowl"),
        ("a\nb", "b"),
        ("o'clock", "o'clock"),
        ("somebody'd", "somebodyd"),
    ],
)
def test_vqa_normalisation(answer: str, normal: str) -> None:
    assert vqa.normalise(answer) == normal


def test_vqa_contractions_are_those_of_the_published_table() -> None:
    """114 of its 120 entries: the others can never be met, being in capitals or mapped to themselves."""
    assert len(vqa.CONTRACTIONS) == 114
    assert "ill" not in vqa.CONTRACTIONS
    assert vqa.CONTRACTIONS["yall'd've"] == vqa.CONTRACTIONS["y'alld've"] == "y'all'd've"
    assert vqa.CONTRACTIONS["ow's'at"] == "'ow's'at"


@pytest.mark.parametrize(("agreeing", "accuracy"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_vqa_soft_accuracy_of_ten_annotators(agreeing: int, accuracy: float) -> None:
    """With k who agree: (k * min(1, (k-1)/3) + (10-k) * min(1, k/3)) / 10."""
    annotations = ["a cat"] * agreeing + [f"dog {index}" for index in range(10 - agreeing)]
    assert vqa.soft_accuracy("Cat.", annotations) == pytest.approx(accuracy)


# --- MMMU

OPTIONS = mmmu.letters(["a dog", "a cat", "the sun", "3.5 mm"])


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(C)", "C"),
        ("I think it is (B), not (A)", "A"),  # the last one counts
        ("A or B ", "B"),
        ("The answer is (D) because A is wrong", "D"),  # brackets come first
        ("I am sure that it must be a cat", "B"),
        ("either a cat or rather the sun in the end", "C"),
    ],
)
def test_mmmu_finds_the_option(answer: str, letter: str) -> None:
    assert mmmu.parse_choice(answer, OPTIONS, "q") == mmmu.Choice(letter, True)


@pytest.mark.parametrize("answer", ["", "cat", "b", "I do not know", "Because"])
def test_mmmu_draws_where_nothing_is_found(answer: str) -> None:
    """Texts of options are only looked for in answers of more than five words; letters only in capitals."""
    drawn = [mmmu.parse_choice(answer, OPTIONS, f"question {index}") for index in range(400)]
    assert not any(choice.found for choice in drawn)
    assert drawn == [mmmu.parse_choice(answer, OPTIONS, f"question {index}") for index in range(400)]
    for letter in OPTIONS:
        assert 60 < sum(choice.letter == letter for choice in drawn) < 140


@pytest.mark.parametrize(
    ("answer", "references", "right"),
    [
        ("42", ["42"], True),
        ("The final answer is 42.0 volts", ["42"], True),
        ("x = 3.14159", ["3.14"], True),
        ("about 1,200 people", ["1200"], True),
        ("1.5e3", ["1500"], True),
        ("-7", ["7"], False),
        ("It is a red apple", ["apple"], True),
        ("It is not a pear", ["apple"], False),
        ("therefore the result is y", ["y"], True),
        ("therefore the result is xyz", ["y"], False),  # a single letter needs a space beside it
        ("so we use plan y here", ["y"], True),
        ("The answer is 4\nThus it is 5", ["5"], True),
        ("either", ["neither", "either"], True),
    ],
)
def test_mmmu_open_answers(answer: str, references: list[str], right: bool) -> None:
    assert mmmu.open_is_right(answer, references) is right


@settings(deadline=None)
@given(st.text())
def test_mmmu_takes_any_answer(answer: str) -> None:
    assert mmmu.parse_choice(answer, OPTIONS, "q").letter in OPTIONS
    assert mmmu.parse_open(answer)


# --- POPE


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("Yes", True),
        ("Yes, there is a dog. No, wait.", True),  # the first sentence counts
        ("No", False),
        ("no, there is none", False),
        ("There is not a dog", False),
        ("NO", True),  # as published: neither No, not nor no
        ("nothing", True),
        ("", True),
    ],
)
def test_pope_reads_answers_as_published(answer: str, yes: bool) -> None:
    assert pope.says_yes(answer) is yes


def test_pope_by_hand() -> None:
    said = [True] * 6 + [False] * 4
    wanted = [True] * 4 + [False] * 2 + [True] * 1 + [False] * 3
    counts = pope.Counts.of(said, wanted)
    assert (counts.true_positive, counts.false_positive) == (4, 2)
    assert (counts.true_negative, counts.false_negative) == (3, 1)
    assert counts.right / counts.total == 0.7
    assert counts.said_yes / counts.total == 0.6
    precision, recall = 4 / 6, 4 / 5
    found = pope.f1(said, wanted)
    assert found.value == pytest.approx(2 * precision * recall / (precision + recall))
    assert 0 <= found.low < found.value < found.high <= 1
    assert pope.f1([False, False], [False, True]).value == 0
    assert [pope.wants_yes(reference) for reference in ("Yes", "no.", "maybe")] == [True, False, None]


# --- AI Journey

TEXT, IMAGE, AUDIO, BOTH = WEIGHTS


def test_integral_is_the_contests_formula() -> None:
    values = {TEXT: [1.0, 0.0], IMAGE: [0.5], AUDIO: [0.25, 0.75, 0.5], BOTH: [0.1]}
    found = integral(values)
    assert found is not None
    # 0.1/2 * 1 + 0.2 * 0.5 + 0.3/3 * 1.5 + 0.4 * 0.1
    assert found.estimate.value == pytest.approx(0.05 + 0.1 + 0.15 + 0.04)
    assert found.coverage == pytest.approx(1)
    assert set(found.kinds) == {"text", "image+text", "audio+text", "audio+image+text"}


def test_integral_over_some_kinds_is_weighted_among_them() -> None:
    found = integral({IMAGE: [0.4, 0.6], AUDIO: [1.0, 1.0], frozenset({"video"}): [0.0]})
    assert found is not None
    assert found.coverage == pytest.approx(0.5)
    assert found.estimate.value == pytest.approx((0.2 * 0.5 + 0.3 * 1) / 0.5)
    assert integral({}) is None
    assert not math.isnan(found.estimate.low)
