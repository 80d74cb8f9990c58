"""Every reason to drop a dialog, each shown on a good dialog with one thing changed."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.training.synthesis.parts import GOOD, dialog, job, medium
from training.synthesis import instructions
from training.synthesis.dialog import Dialog
from training.synthesis.filters import REASONS, check
from training.synthesis.jobs import Job
from training.synthesis.kinds import KINDS


def reason(given: Dialog, asked: Job, instruction: str = "") -> str | None:
    rejection = check(given, asked, instruction)
    assert rejection is None or rejection.reason in REASONS
    return rejection and rejection.reason


def test_a_good_dialog_is_kept(tmp_path: Path) -> None:
    for kind in KINDS:
        assert check(GOOD, job(tmp_path), instructions.instruction(kind)) is None


def changed(place: int, *, media: Sequence[str] | None = None, question: str = "", answer: str = "") -> Dialog:
    turns = [(turn.media, turn.question, turn.answer) for turn in GOOD.turns]
    old = turns[place]
    turns[place] = (old[0] if media is None else list(media), question or old[1], answer or old[2])
    return dialog(*turns)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (changed(1, media=["audio 1", "image 7"]), "medium-unknown"),
        (changed(1, media=["audio 1", "<script>"]), "medium-unknown"),
        (changed(1, media=["audio 1", "audio 1"]), "medium-repeated"),
        (changed(1, media=["audio 1", "image 1"]), "medium-repeated"),
        (changed(1, media=[]), "medium-missing"),
        (changed(0, media=["image 1"]), "medium-missing"),
        (changed(0, media=["image 2", "image 1"]), "medium-order"),
        (changed(0, question="What is in the third picture?"), "medium-absent"),
        (changed(0, question="What is said in the recording?"), "medium-absent"),
        (changed(0, answer="A dog; and in audio 1 someone talks about it."), "medium-absent"),
        (changed(1, answer="To the dog in image 4."), "medium-absent"),
        (changed(1, answer="To the dog in image 0."), "medium-absent"),
        (dialog((["image 1", "image 2", "audio 1"], "What is loud?", "The dog and its stick."),
                ([], "Is it near?", "It is.")), "medium-unused"),
        (changed(0, question="?!"), "too-short"),
        (changed(1, answer="   "), "too-short"),
        (changed(1, answer="stick " * 301), "too-long"),
        (changed(1, question="really " * 121), "too-long"),
        (dialog(), "medium-missing"),
        (changed(0, answer="<image 1> shows a dog, the other cats."), "leaks-instruction"),
        (changed(0, answer="As instructed, I see a dog on a beach and two cats."), "leaks-instruction"),
        (changed(1, answer="Here is the conversation about a stick."), "leaks-instruction"),
        (changed(0, answer="The caption says that there is a dog on a beach."), "mentions-annotation"),
        (changed(0, answer="As described, a dog is on a beach, and two cats sleep."), "mentions-annotation"),
        (changed(0, answer="Based on the description, a dog is on a beach."), "mentions-annotation"),
        (changed(0, answer="The annotations list a dog on a beach."), "mentions-annotation"),
        (changed(1, answer="The transcript says: throw the stick."), "mentions-annotation"),
        (changed(0, answer="A dog is at [0.12, 0.4, 0.5, 0.9] on a beach."), "mentions-annotation"),
        (changed(1, answer="I'm sorry, I cannot hear the stick."), "refusal"),
        (changed(1, answer="As an AI, I have no ears for a stick."), "refusal"),
        (changed(1, answer="It is impossible to tell who throws the stick."), "refusal"),
        (changed(1, answer="Untuk anjing yang berada di pantai itu, dengan kayu."), "wrong-language"),
        (changed(0, question="Apakah yang ada dalam gambar itu?"), "wrong-language"),
        (changed(0, answer="Un chien brun sur la plage et deux chats qui dorment sur le canapé."), "wrong-language"),
        (changed(0, answer="一只棕色的狗在沙滩上 dog cats"), "wrong-language"),
        (changed(1, answer=GOOD.turns[1].question), "repeats-itself"),
        (dialog(*((t.media, t.question, t.answer) for t in GOOD.turns), ([], "Why a stick?", "It is a toy."),
                ([], "Why a  stick", "Dogs like it.")), "repeats-itself"),
    ],
)  # fmt: skip
def test_each_reason(tmp_path: Path, given: Dialog, expected: str) -> None:
    assert reason(given, job(tmp_path)) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Maaf, saya tidak dapat melihat anjing itu.", "refusal"),
        ("Berdasarkan keterangan, anjing itu berada di pantai.", "mentions-annotation"),
        ("Seperti yang dihuraikan, anjing itu berada di pantai.", "mentions-annotation"),
        ("Kapsyen itu menyebut seekor anjing di pantai.", "mentions-annotation"),
        ("The dog is on the beach and it has a stick.", "wrong-language"),
        ("Gambar kedua menunjukkan seekor anjing.", "medium-absent"),
        ("Seekor anjing berada di pantai.", None),
    ],
)
def test_malay(tmp_path: Path, answer: str, expected: str | None) -> None:
    given = dialog((["image 1"], "Apakah yang ada dalam gambar itu?", answer), ([], "Di manakah ia?", "Di pantai."))
    assert reason(given, job(tmp_path, "conversation", "ms")) == expected


def test_a_translation_need_not_share_words(tmp_path: Path) -> None:
    """What is known is English: that no word of it is said in Malay proves nothing."""
    given = dialog((["image 1"], "Apakah ini?", "Seekor haiwan."), ([], "Di manakah ia?", "Di tepi laut."))
    assert reason(given, job(tmp_path, "conversation", "ms")) is None


def test_mixed_needs_both_languages(tmp_path: Path) -> None:
    asked = job(tmp_path, "conversation", "mixed")
    english = (["image 1"], "What is in the picture?", "There is a brown dog on the beach.")
    malay = ([], "Di manakah anjing itu?", "Anjing itu berada di pantai.")
    assert reason(dialog(english, malay), asked) is None
    assert reason(dialog(english, ([], "Is it brown?", "Yes, it is.")), asked) == "wrong-language"


def test_whole_sentences_of_the_instruction_leak(tmp_path: Path) -> None:
    text = instructions.instruction("relations")
    answer = "A dog and cats. Later questions return to media of earlier turns."
    assert reason(changed(0, answer=answer), job(tmp_path), text) == "leaks-instruction"
    assert reason(changed(0, answer=answer), job(tmp_path)) is None


def test_turns_are_counted(tmp_path: Path) -> None:
    turn = (["image 1"], "What is it?", "A brown dog that lies on a beach in the sun.")
    assert reason(dialog(turn), job(tmp_path, "conversation")) == "turn-count"
    assert reason(dialog(turn), job(tmp_path, "description")) is None
    assert reason(dialog(turn, ([], "Why?", "It is a dog.")), job(tmp_path, "description")) == "turn-count"
    assert reason(dialog((["image 1"], "What is it?", "A dog.")), job(tmp_path, "description")) == "too-short"


def test_what_is_shown_or_said_may_be_repeated(tmp_path: Path) -> None:
    """A speaker who is sorry, a picture of a caption: the words are the content, not a leak."""
    said = Job(
        kind="conversation",
        language="en",
        media=(medium(tmp_path / "x.wav", ("transcript", "I'm sorry, the caption is wrong")),),
        seed=0,
        generator="test",
    )
    given = dialog(
        (["audio 1"], "What does the speaker say?", "I'm sorry, the caption is wrong."),
        ([], "What is wrong?", "The caption."),
    )
    assert reason(given, said) is None
    assert (
        reason(dialog((["audio 1"], "Who?", "Sorry, I cannot see the caption."), ([], "So?", "So.")), said) == "refusal"
    )
