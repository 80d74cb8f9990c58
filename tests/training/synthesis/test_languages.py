"""Telling English from Malay, and the small forms of texts."""

import pytest

from training.synthesis.english import plural
from training.synthesis.languages import (
    NUMBERS,
    ORDINALS,
    clause,
    content_words,
    fits,
    listed,
    normalised,
    number,
    ordinal,
    sentence,
    speaks,
    stems,
)

ENGLISH = (
    "The dog is on the left of the picture, and a ball lies in front of it.",
    "What do you see?",
    "Two red triangles.",
    "It is a busy street with many people who are walking past the shops.",
)
MALAY = (
    "Anjing itu berada di sebelah kiri gambar, dan sebiji bola terletak di hadapannya.",
    "Apakah yang anda lihat?",
    "Dua segi tiga merah.",
    "Ini ialah jalan yang sibuk dengan ramai orang yang sedang berjalan melalui kedai.",
)
OTHERS = (
    "Le chien est à gauche de la photo et une balle se trouve devant lui sur le sable.",
    "Der Hund sitzt links im Bild und vor ihm liegt ein Ball, der ganz rot ist.",
    "狗在图片的左边，前面有一个球。",
    "Собака слева.",
)


@pytest.mark.parametrize("text", ENGLISH)
def test_english(text: str) -> None:
    assert fits(text, "en")
    assert fits(text, "mixed")


@pytest.mark.parametrize("text", MALAY)
def test_malay(text: str) -> None:
    assert fits(text, "ms")
    assert fits(text, "mixed")


@pytest.mark.parametrize("text", [ENGLISH[0], ENGLISH[1], ENGLISH[3]])
def test_english_is_not_malay(text: str) -> None:
    assert not fits(text, "ms")
    assert speaks(text, "en")
    assert not speaks(text, "ms")


@pytest.mark.parametrize("text", [MALAY[0], MALAY[1], MALAY[3]])
def test_malay_is_not_english(text: str) -> None:
    assert not fits(text, "en")
    assert speaks(text, "ms")


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_are_neither(text: str) -> None:
    assert not fits(text, "en")
    assert not fits(text, "ms")
    assert not fits(text, "mixed")


def test_a_word_of_the_other_language_is_no_fault() -> None:
    assert fits('The sign says "tidak", which is Malay.', "en")
    assert fits("Perkataan itu ialah the.", "ms")


def test_content_words_leave_out_what_every_sentence_has() -> None:
    assert content_words("The second picture shows a red dog on a beach.") == {"shows", "red", "dog", "beach"}
    assert content_words("Gambar kedua menunjukkan anjing di pantai") == {"menunjukkan", "anjing", "pantai"}
    assert stems("triangles") == stems("triangle")


def test_small_forms() -> None:
    assert sentence("two  dogs") == "Two dogs."
    assert sentence("Really?") == "Really?"
    assert sentence('It says "stop."') == 'It says "stop."'
    assert clause('A "big" dog. ') == "A 'big' dog"
    assert normalised("Two DOGS, 3 cats!") == "two dogs 3 cats"
    assert listed(["a", "b", "c"], "en") == "a, b and c"
    assert listed(["a", "b"], "ms") == "a dan b"
    assert listed([], "en") == ""
    assert [number(0, "en"), number(10, "ms"), number(11, "en")] == ["no", "sepuluh", "11"]
    assert [ordinal(1, "en"), ordinal(10, "ms")] == ["first", "kesepuluh"]
    assert {len(names) for names in ORDINALS.values()} == {10}
    assert {len(names) for names in NUMBERS.values()} == {11}


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("dog", "dogs"), ("bus", "buses"), ("traffic light", "traffic lights"), ("person", "people"),
        ("wine glass", "wine glasses"), ("knife", "knives"), ("baby", "babies"), ("toy", "toys"),
        ("fireman", "firemen"), ("sheep", "sheep"), ("human", "humans"), ("skis", "skis"), ("couch", "couches"),
        ("woman", "women"), ("people", "people"),
    ],
)  # fmt: skip
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many
