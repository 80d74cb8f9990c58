"""Dialogs: composed from a tiny made-up corpus; the answers are right and the splits never mix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.training.corpus.made_up import thing, write, write_source
from training.corpus import dialogs, samples
from training.corpus.registry import Plan
from training.corpus.scenes import COLOURS
from training.corpus.words import THINGS


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return dialogs.plan(write(tmp_path_factory.mktemp("corpus")))


def of(plan: Plan, task: str) -> list[samples.Sample]:
    return [value for value in plan.train if value["meta"]["task"] == f"dialogs/{task}"]


def question(value: samples.Sample) -> str:
    return " ".join(part["text"] for part in value["messages"][0]["content"] if part["type"] == "text")


def test_all_kinds_in_both_languages_and_valid(plan: Plan) -> None:
    assert not plan.skipped
    for split in (plan.train, plan.test):
        found = Counter((value["meta"]["task"], value["meta"]["language"]) for value in split)
        assert len(found) == 2 * len(dialogs.KINDS)
    for value in plan.train:
        samples.check(value)
        assert "label" not in value["meta"]


def test_media_come_from_the_same_split(plan: Plan) -> None:
    for split in ("train", "test"):
        for value in getattr(plan, split):
            for url in samples.media(value):
                assert url.startswith("../")
                assert url.rsplit("/", 1)[1].startswith(split)


def test_which_points_at_the_right_picture(plan: Plan) -> None:
    for value in of(plan, "which-colour"):
        english = value["meta"]["language"] == "en"
        names = [COLOURS[thing(url)][0] if not english else thing(url) for url in samples.media(value)]
        place = ("the first", "the second").index(value["messages"][1]["content"]) if english else (
            ("yang pertama", "yang kedua").index(value["messages"][1]["content"])
        )  # fmt: skip
        assert names[place] in question(value)
        assert names[0] != names[1]


def test_yes_exactly_if_it_matches_and_balanced(plan: Plan) -> None:
    for task in ("sound-matches", "word-matches"):
        answers = Counter()
        for value in of(plan, task):
            reply = value["messages"][1]["content"]
            seen, heard = sorted(samples.media(value), key=lambda url: url.endswith(".wav"))
            spoken = thing(heard).split("-", 1)[-1] if task == "word-matches" else thing(heard)
            name = thing(seen)
            if task == "word-matches" and value["meta"]["language"] == "ms":
                name, spoken = THINGS[name][0], thing(heard).removeprefix("ms-")
            assert (name == spoken) == (reply in ("yes", "ya"))
            answers[reply in ("yes", "ya")] += 1
        assert abs(answers[True] - answers[False]) <= 1


def test_turns_alternate_and_answer_what_was_asked(plan: Plan) -> None:
    lengths = Counter(len(value["messages"]) for value in of(plan, "turns"))
    assert set(lengths) == {4, 6, 8}
    without_media = [
        value for value in of(plan, "turns") if all(part["type"] == "text" for part in value["messages"][-2]["content"])
    ]
    assert len(without_media) == dialogs.KINDS["turns"][1] // 3


def test_licences_are_joined(plan: Plan) -> None:
    assert plan.provenance["licence"] == "L-emoji AND L-scenes AND L-sounds AND L-speech AND L-stamps"
    assert {value["meta"]["licence"] for value in of(plan, "sound-matches")} == {"L-sounds AND L-stamps"}


def test_what_is_missing_is_skipped_and_counted(tmp_path: Path) -> None:
    plan = dialogs.plan(write_source(tmp_path, "scenes", "colour", ("red", "blue")))
    assert {value["meta"]["task"] for value in plan.train} == {"dialogs/which-colour"}
    assert plan.skipped["dialogs/both for lack of media"] == sum(dialogs.KINDS["both"][1:])
