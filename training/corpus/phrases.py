"""The questions: for every task several phrasings in English and Malay. ``{x}`` is filled by the caller."""

from __future__ import annotations

import random

QUESTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "scenes/shape": {
        "en": ("What shape is it?", "Which shape do you see?", "What is the shape of the object?", "Name the shape."),
        "ms": ("Apakah bentuk ini?", "Bentuk apakah yang anda lihat?", "Namakan bentuk itu."),
    },
    "scenes/colour": {
        "en": (
            "What colour is it?",
            "Which colour is the object?",
            "What is the color of the shape?",
            "Name the colour.",
        ),
        "ms": ("Apakah warnanya?", "Apakah warna objek ini?", "Namakan warna itu."),
    },
    "scenes/position": {
        "en": (
            "Where is the object?",
            "Where in the picture is the shape: left, right, top, bottom or centre?",
            "In which part of the picture is it?",
        ),
        "ms": ("Di manakah objek itu?", "Di bahagian manakah bentuk itu berada?"),
    },
    "scenes/count": {
        "en": (
            "How many objects are there?",
            "How many shapes do you see?",
            "Count the objects.",
            "How many are there?",
        ),
        "ms": ("Berapakah bilangan objek?", "Ada berapa bentuk dalam gambar ini?", "Kira objek itu."),
    },
    "scenes/describe": {
        "en": ("Describe the picture.", "What is drawn here?", "Describe what you see in a few words."),
        "ms": ("Huraikan gambar ini.", "Apakah yang dilukis di sini?"),
    },
    "name": {
        "en": (
            "What is this?",
            "What is in the picture?",
            "What do you see?",
            "Name the thing in the picture.",
            "What does the picture show?",
        ),
        "ms": (
            "Apakah ini?",
            "Apakah yang ada dalam gambar ini?",
            "Apakah yang anda lihat?",
            "Namakan benda dalam gambar.",
        ),
    },
    "kind": {
        "en": (
            "What kind of thing is this?",
            "Which kind of thing does the picture show?",
            "To which category does this belong?",
        ),
        "ms": ("Apakah jenis benda ini?", "Benda ini tergolong dalam kategori apa?"),
    },
    "speech": {
        "en": ("What is said?", "What does the speaker say?", "What do you hear?", "Write down what is spoken."),
        "ms": ("Apakah yang disebut?", "Apakah yang dikatakan?", "Apakah yang anda dengar?"),
    },
    "digits": {
        "en": (
            "Which number is said?",
            "What number do you hear?",
            "Which digit does the speaker say?",
            "What is said?",
        ),
        "ms": ("Nombor apakah yang disebut?", "Apakah nombor yang anda dengar?", "Apakah yang disebut?"),
    },
    "words": {
        "en": ("Which word is spoken?", "What word do you hear?", "What is said?", "What does the speaker say?"),
        "ms": ("Perkataan apakah yang disebut?", "Apakah perkataan yang anda dengar?", "Apakah yang disebut?"),
    },
    "commands": {
        "en": ("What is the command?", "What does the speaker ask for?", "What is said?", "What should be done?"),
        "ms": ("Apakah arahannya?", "Apakah yang diminta?", "Apakah yang disebut?"),
    },
    "sounds/name": {
        "en": (
            "What makes this sound?",
            "What do you hear?",
            "What is making the sound?",
            "Which thing sounds like this?",
        ),
        "ms": ("Apakah yang membuat bunyi ini?", "Apakah yang anda dengar?", "Bunyi apakah ini?"),
    },
    "sounds/kind": {
        "en": ("What kind of thing makes this sound?", "To which category does this sound belong?"),
        "ms": ("Apakah jenis benda yang membuat bunyi ini?", "Bunyi ini tergolong dalam kategori apa?"),
    },
    "which-picture": {
        "en": (
            "Which of the two pictures shows {x}?",
            "In which picture do you see {x}, the first or the second?",
            "Where is {x}: in the first or the second picture?",
        ),
        "ms": ("Gambar yang manakah menunjukkan {x}?", "Di gambar manakah ada {x}, pertama atau kedua?"),
    },
    "which-colour": {
        "en": ("Which picture is {x}?", "Which of the two shows something {x}?", "In which picture is the object {x}?"),
        "ms": ("Gambar manakah yang berwarna {x}?", "Objek di gambar manakah berwarna {x}?"),
    },
    "sound-matches": {
        "en": (
            "Does the sound match the picture?",
            "Is this the sound of the thing in the picture?",
            "Do the picture and the sound belong together?",
        ),
        "ms": ("Adakah bunyi ini sepadan dengan gambar?", "Adakah ini bunyi benda dalam gambar itu?"),
    },
    "word-matches": {
        "en": (
            "Is the spoken word the thing in the picture?",
            "Does the speaker name what the picture shows?",
            "Does the word fit the picture?",
        ),
        "ms": ("Adakah perkataan itu benda dalam gambar?", "Adakah perkataan itu sepadan dengan gambar?"),
    },
    "both": {
        "en": ("What is in the picture, and what is said?", "Name the thing in the picture and the spoken word."),
        "ms": (
            "Apakah yang ada dalam gambar, dan apakah yang disebut?",
            "Namakan benda dalam gambar dan perkataan yang disebut.",
        ),
    },
}


def question(rng: random.Random, task: str, language: str, x: str = "") -> str:
    """One phrasing of ``task`` in ``language`` ('en' or 'ms'), with ``{x}`` replaced by ``x``."""
    return rng.choice(QUESTIONS[task][language]).replace("{x}", x)
