"""Source ``dialogs``: questions about several media at once, and over several turns, composed from the other sources.

Tasks: ``dialogs/which-picture``, ``which-colour`` (which of two), ``sound-matches``, ``word-matches`` (yes or no,
balanced), ``both`` (name a picture and a word) and ``turns`` (every turn about another medium, or about one given
before). See `training.corpus.composed`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.corpus import samples
from training.corpus.composed import (
    Dialog,
    Image,
    Kind,
    Medium,
    Pool,
    Sound,
    arrange,
    ask_about,
    compose,
    one,
    phrase,
    two,
)
from training.corpus.phrases import question
from training.corpus.registry import Context, Plan
from training.corpus.words import THINGS

_WHICH = {"en": ("the first", "the second"), "ms": ("yang pertama", "yang kedua")}
_YES_NO = {"en": ("yes", "no"), "ms": ("ya", "tidak")}
_LATER = {
    "picture": {"en": "And what is in the picture?", "ms": "Dan apakah yang ada dalam gambar itu?"},
    "word": {"en": "And what was said?", "ms": "Dan apakah yang disebut tadi?"},
}


def plan(context: Context) -> Plan:
    """Compose the dialogs from the sources that are already in the output folder; what they lack is skipped."""
    return compose(context, "dialogs", KINDS)


def _which(rng: random.Random, table: dict[str, list[Medium]], task: str, language: str, index: int) -> Dialog:
    pair = two(rng, table, language)
    right = index % 2
    name = pair[right].names[language]
    words = question(rng, task, language, name if task == "which-colour" else phrase(name, language))
    return Dialog().turn(arrange(rng, [Image(medium) for medium in pair], words, language), _WHICH[language][right])


def _which_picture(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    table = pool.things if rng.random() < 0.4 else pool.everyday
    if rng.random() < 0.2:
        table = pool.shapes
    return _which(rng, table, "which-picture", language, index)


def _which_colour(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    return _which(rng, pool.colours, "which-colour", language, index)


def _yes_no(rng: random.Random, picture: Medium, sound: Medium, task: str, language: str, match: bool) -> Dialog:
    media: list[Image | Sound] = [Image(picture), Sound(sound)]
    if rng.random() < 0.5:
        media.reverse()
    reply = _YES_NO[language][0 if match else 1]
    return Dialog().turn(arrange(rng, media, question(rng, task, language), language), reply)


def _sound_matches(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    names = sorted(name for name in pool.sounds if name in pool.things)
    heard, other = rng.sample(names, 2)
    seen = heard if index % 2 == 0 else other
    return _yes_no(
        rng, rng.choice(pool.things[seen]), rng.choice(pool.sounds[heard]), "sound-matches", language, index % 2 == 0
    )


def _word_matches(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    spoken = pool.words[language]
    word = {name: THINGS[name][0] if language == "ms" else name for name in pool.everyday}
    seen, other = rng.sample(sorted(name for name in word if word[name] in spoken), 2)
    heard = seen if index % 2 == 0 else other
    sound = rng.choice(spoken[word[heard]])
    return _yes_no(rng, rng.choice(pool.everyday[seen]), sound, "word-matches", language, index % 2 == 0)


def _both(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    picture = one(rng, pool.everyday)
    sound = one(rng, pool.digits[language] if index % 2 else pool.words[language])
    media: list[Image | Sound] = [Image(picture), Sound(sound)]
    if rng.random() < 0.5:
        media.reverse()
    join = " and " if language == "en" else " dan "
    reply = picture.names[language] + join + sound.names[language]
    return Dialog().turn(arrange(rng, media, question(rng, "both", language), language), reply)


def _turns(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    """Two to four turns. One dialog in three gives a picture and a sound at once and asks for one turn by turn."""
    dialog = Dialog()
    if index % 3 == 0:
        picture, sound = one(rng, pool.everyday), one(rng, pool.digits[language])
        asked = [("picture", picture, "name"), ("word", sound, "digits")]
        if rng.random() < 0.5:
            asked.reverse()
        words = question(rng, asked[0][2], language)
        media: list[Image | Sound] = [Image(picture), Sound(sound)]
        dialog.turn(arrange(rng, media, words, language), asked[0][1].names[language])
        later, medium, _ = asked[1]
        return dialog.turn([samples.text(_LATER[later][language])], medium.names[language])
    steps = ["scenes/colour", "scenes/shape", "name", "digits", "words"]
    for step in rng.sample(steps, 2 + index % 3):
        part, words, reply = ask_about(rng, pool, step, language)
        dialog.turn(arrange(rng, [part], words, language), reply)
    return dialog


KINDS: Mapping[str, tuple[Kind, int, int]] = {
    "which-picture": (_which_picture, 11000, 200),
    "which-colour": (_which_colour, 5000, 160),
    "sound-matches": (_sound_matches, 4000, 160),
    "word-matches": (_word_matches, 8000, 200),
    "both": (_both, 3000, 160),
    "turns": (_turns, 3000, 200),
}
"""By task: what makes one, how many for training, how many for the test."""
