"""Source ``pairs``: two questions in one message, each about a medium of its own, answered one after the other.

Tasks: ``pairs/picture-and-sound``, ``two-pictures`` and ``two-sounds``. The first answer is that of the first question,
wherever the media stand. See `training.corpus.composed`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from training.corpus import samples
from training.corpus.composed import Dialog, Image, Kind, Pool, Sound, ask_about, compose
from training.corpus.registry import Context, Plan

_JOIN = {"en": " and ", "ms": " dan "}
_PICTURES, _SOUNDS = ("scenes/colour", "scenes/shape", "name"), ("digits", "words")


def plan(context: Context) -> Plan:
    """Compose the pairs from the sources that are already in the output folder; what they lack is skipped."""
    return compose(context, "pairs", KINDS)


def _ask(rng: random.Random, pool: Pool, language: str, tasks: tuple[str, str], *, together: bool) -> Dialog:
    """One message with both questions; with `together` both media may stand before them or after them."""
    one_part, one_question, first = ask_about(rng, pool, tasks[0], language)
    other_part, other_question, second = ask_about(rng, pool, tasks[1], language)
    one_text, other_text = samples.text(one_question), samples.text(other_question)
    styles: list[list[samples.Part | Image | Sound]] = [
        [one_text, one_part, other_text, other_part],
        [one_part, one_text, other_part, other_text],
    ]
    if together:
        styles += [[one_part, other_part, one_text, other_text], [one_text, other_text, one_part, other_part]]
        styles.append([other_part, one_part, one_text, other_text])
    return Dialog().turn(rng.choice(styles), first + _JOIN[language] + second)


def _picture_and_sound(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    # The name is what pictures are asked for most.
    picture = "name" if rng.random() < 0.6 else rng.choice(_PICTURES)
    tasks = (picture, rng.choice(_SOUNDS))
    return _ask(rng, pool, language, tasks if index % 2 else (tasks[1], tasks[0]), together=True)


def _two_pictures(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    return _ask(rng, pool, language, (rng.choice(_PICTURES), rng.choice(_PICTURES)), together=False)


def _two_sounds(rng: random.Random, pool: Pool, language: str, index: int) -> Dialog:
    return _ask(rng, pool, language, (rng.choice(_SOUNDS), rng.choice(_SOUNDS)), together=False)


KINDS: Mapping[str, tuple[Kind, int, int]] = {
    "picture-and-sound": (_picture_and_sound, 3000, 160),
    "two-pictures": (_two_pictures, 1200, 100),
    "two-sounds": (_two_sounds, 1200, 100),
}
"""By task: what makes one, how many for training, how many for the test."""
