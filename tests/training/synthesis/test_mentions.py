"""Which media a text speaks of."""

import pytest

from training.synthesis.mentions import mentions


def found(text: str) -> set[tuple[str, int | None]]:
    return {(each.modality, each.number) for each in mentions(text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is in image 3?", {("image", 3)}),
        ("Compare picture 1 and 2.", {("image", 1), ("image", 2)}),
        ("The third picture is darker.", {("image", 3)}),
        ("Compare the first and second picture.", {("image", 1), ("image", 2)}),
        ("Compare the 2nd photo with this one.", {("image", 2)}),
        ("Is picture two larger?", {("image", 2)}),
        ("The picture shows a dog.", {("image", None)}),
        ("Both images are dark.", {("image", None)}),
        ("What is said in the recording?", {("audio", None)}),
        ("What is the second sound?", {("audio", 2)}),
        ("Is audio #2 louder?", {("audio", 2)}),
        ("Apakah yang ada dalam gambar kedua?", {("image", 2)}),
        ("Gambar yang ketiga lebih gelap.", {("image", 3)}),
        ("Kedua-dua gambar itu gelap.", {("image", None)}),
        ("Bunyi pertama ialah loceng.", {("audio", 1)}),
        ("Dengar rakaman itu dan imej 2.", {("audio", None), ("image", 2)}),
        ("Gambar pertama dan kedua sama.", {("image", 1), ("image", 2)}),
    ],
)
def test_what_points_at_a_medium(text: str, expected: set[tuple[str, int | None]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "How many pictures hang on the wall?",
        "It sounds 3 times.",
        "What sound does this animal make?",
        "The sound of waves can be imagined.",
        "Five dogs and 2 cats.",
        "Bunyi apakah yang dibuat oleh haiwan ini?",
        "Pada pandangan pertama, ia kelihatan besar.",
    ],
)
def test_what_does_not(text: str) -> None:
    assert found(text) == set()
