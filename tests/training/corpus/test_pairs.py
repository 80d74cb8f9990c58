"""Pairs: two questions in one message, answered in their order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.training.corpus.made_up import thing, write, write_source
from training.corpus import pairs, samples
from training.corpus.phrases import QUESTIONS
from training.corpus.registry import Plan
from training.corpus.scenes import COLOURS, SHAPES
from training.corpus.words import THINGS

JOIN = {"en": " and ", "ms": " dan "}
HEARD = {phrase for task in ("digits", "words") for phrases in QUESTIONS[task].values() for phrase in phrases}
MALAY = {**{name: word for name, (word, *_) in COLOURS.items()}, **SHAPES, **{name: t[0] for name, t in THINGS.items()}}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return pairs.plan(write(tmp_path_factory.mktemp("corpus")))


def test_all_kinds_in_both_languages_and_valid(plan: Plan) -> None:
    assert not plan.skipped
    for split in (plan.train, plan.test):
        assert len(Counter((value["meta"]["task"], value["meta"]["language"]) for value in split)) == 6
        for value in split:
            samples.check(value)
            assert "label" not in value["meta"]


def said(url: str, language: str) -> str:
    """What is right to say about a medium."""
    if url.endswith(".wav"):
        return thing(url).removeprefix(f"{language}-")
    return MALAY[thing(url)] if language == "ms" else thing(url)


def test_the_answers_come_in_the_order_of_the_questions(plan: Plan) -> None:
    orders = Counter()
    for value in plan.train:
        parts, reply = value["messages"][0]["content"], value["messages"][1]["content"]
        texts, media = [part["text"] for part in parts if part["type"] == "text"], samples.media(value)
        assert (len(texts), len(media)) == (2, 2)
        if value["meta"]["task"] == "pairs/picture-and-sound":
            heard = [text in HEARD for text in texts]
            assert sorted(heard) == [False, True]
            orders[heard == [url.endswith(".wav") for url in media], heard[0]] += 1
            media.sort(key=lambda url: url.endswith(".wav") != heard[0])
        language = value["meta"]["language"]
        assert reply == JOIN[language].join(said(url, language) for url in media)
    assert set(orders) == {(True, True), (True, False), (False, True), (False, False)}


def test_what_is_missing_is_skipped_and_counted(tmp_path: Path) -> None:
    plan = pairs.plan(write_source(tmp_path, "emoji", "common", ("dog", "cat")))
    assert {value["meta"]["task"] for value in plan.train} == {"pairs/two-pictures"}
    assert plan.skipped["pairs/two-sounds for lack of media"] == sum(pairs.KINDS["two-sounds"][1:])
