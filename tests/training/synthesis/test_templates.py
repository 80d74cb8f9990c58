"""The templates: right about media, true to the annotations, and grammatical in both languages."""

import asyncio
import json
import random
import re
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.synthesis.parts import COCO, medium, sample, write
from training.synthesis.annotations import Annotation, Medium
from training.synthesis.dialog import Draft
from training.synthesis.filters import check
from training.synthesis.gather import gather
from training.synthesis.jobs import Job, Request, plan
from training.synthesis.kinds import KINDS
from training.synthesis.languages import LANGUAGES, fits, normalised
from training.synthesis.mentions import mentions
from training.synthesis.templates import Templates
from training.synthesis.templates.phrases import PHRASES, VERSION, phrase


def draft(job: Job) -> Draft:
    return asyncio.run(Templates().draft(job, 0))


def make(kind: str, language: str, *media: Medium, seed: int = 0) -> Job:
    return Job(kind=kind, language=language, media=media, seed=seed, generator="templates")


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Medium:
    folder = write(tmp_path_factory.mktemp("coco"), [sample("coco/0", "a.png", "", "A dog chases a ball.", **COCO)])
    return gather([folder / "train.jsonl"]).media[0]


def test_every_phrase_is_in_both_languages_and_fits_its_language() -> None:
    for name, table in PHRASES.items():
        assert set(table) == set(LANGUAGES), name
        fields = set()
        for language, texts in table.items():
            assert len(set(texts)) == len(texts) or name == "another", name
            for text in texts:
                found = {field.lower() for _, field, _, _ in string.Formatter().parse(text) if field}
                fields.add(frozenset(found - {"one", "many", "counted", "many_a", "many_b", "a", "b"}))
                filled = text.format(**{f: "x" for _, f, _, _ in string.Formatter().parse(text) if f})
                assert fits(filled, language), text
                assert filled[-1] in ".?!x", text
        # Malay has no plural; otherwise both ask for the same.
        assert len(fields) <= 2, name


def test_questions_and_answers_are_varied() -> None:
    questions = [name for name in PHRASES if "/" not in name or name.startswith(("describe/", "reason/"))]
    several = [name for name in questions if all(len(texts) > 1 for texts in PHRASES[name].values())]
    assert len(several) >= 15


def test_upper_case_at_the_start_of_sentences() -> None:
    assert phrase(random.Random(0), "match/yes", "en", a="the picture", b="the sound", x="dog", y="a bark") == (
        "Yes. The picture: dog. The sound: a bark."
    )


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), language=st.sampled_from(["en", "ms", "mixed"]), kind=st.sampled_from(list(KINDS)))
def test_media_are_given_once_in_order_and_everything_holds(toys: Path, seed: int, language: str, kind: str) -> None:
    """Whatever the seed: every dialog passes all filters, hands over its media once, and speaks of none too early."""
    pool, templates = gather([toys / "train.jsonl"]), Templates()
    request = Request(kinds=(kind,), languages=(language,), count=3, max_media=6, seed=seed)
    for job in plan(pool, request, templates.usable, templates.version).jobs:
        made = draft(job)
        assert check(made.dialog, job) is None, made.dialog
        given_media = [name for turn in made.dialog.turns for name in turn.media]
        assert given_media == list(job.names)
        assert len(made.templates) == len(made.dialog.turns)
        for text in made.dialog.texts:
            assert text[0].isupper() or not text[0].isalpha(), text
            assert text[-1] in ".?!”", text
            assert "  " not in text
            assert not re.search(r"[.?!,:]{2,}|\{|\}", text), text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), modalities=st.lists(st.sampled_from(["png", "wav"]), min_size=2, max_size=8))
def test_what_is_said_of_a_medium_is_true_of_that_medium(tmp_path: Path, seed: int, modalities: list[str]) -> None:
    """Media are known by words that nothing else holds: `The second picture: ...` must be followed by its own."""
    places = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
    media = [
        medium(tmp_path / f"{index}.{suffix}", ("caption", f"zz{chr(97 + index)}zz"))
        for index, suffix in enumerate(modalities)
    ]
    job = make("relations", "en", *media, seed=seed)
    secret = {name: each.annotations[0].text for name, each in zip(job.names, job.media, strict=True)}
    spoken = {}
    for name in job.names:
        modality, place = name.split()
        noun = "picture" if modality == "image" else "sound"
        alone = sum(each.startswith(modality) for each in job.names) == 1
        spoken[f"the {noun}" if alone else f"the {places[int(place) - 1]} {noun}"] = name
    checked = 0
    for turn in draft(job).dialog.turns:
        for called, text in re.findall(r"(?:In )?(the (?:\w+ )?(?:picture|sound))(?:, on the other hand)?: (zz\wzz)",
                                       turn.answer, re.IGNORECASE):  # fmt: skip
            assert secret[spoken[called.lower()]] == text
            checked += 1
        for called in re.findall(r"the (?:\w+ )?(?:picture|sound)\b", turn.answer.lower()):
            assert called in spoken
        if described := re.fullmatch(r"(zz\wzz)\.", turn.answer.lower()):
            (called,) = re.findall(r"the (?:\w+ )?(?:picture|sound)\b", turn.question.lower())
            assert secret[spoken[called]] == described[1]
            checked += 1
    assert checked


def test_the_same_job_gives_the_same_words(toys: Path) -> None:
    templates = Templates()
    for job in plan(gather([toys / "train.jsonl"]), Request(count=5), templates.usable, templates.version).jobs:
        assert draft(job) == draft(job)
    assert templates.version("relations") == f"templates:{VERSION}"


def answers(job: Job, template: str, draws: int = 60) -> set[tuple[str, str]]:
    """Questions and answers of a template over many seeds."""
    found = set()
    for seed in range(draws):
        made = draft(Job(kind=job.kind, language=job.language, media=job.media, seed=seed, generator="t"))
        for turn, name in zip(made.dialog.turns, made.templates, strict=True):
            if name == template:
                found.add((turn.question, turn.answer))
    return found


def test_sounds_go_with_what_they_name(tmp_path: Path) -> None:
    picture = medium(tmp_path / "a.png", ("name", "big dog"))
    same, other = medium(tmp_path / "b.wav", ("transcript", "dog")), medium(tmp_path / "c.wav", ("transcript", "cat"))
    long = medium(tmp_path / "d.wav", ("caption", "a noise in the street"))
    assert all(answer.startswith("Yes. ") for _, answer in answers(make("relations", "en", picture, same), "match"))
    assert all(answer.startswith("No. ") for _, answer in answers(make("relations", "en", picture, other), "match"))
    assert answers(make("relations", "en", picture, same), "match")
    assert answers(make("relations", "en", picture, long), "match") == set(), "a caption proves nothing"


def test_which_is_asked_only_where_one_fits(tmp_path: Path) -> None:
    dogs = [medium(tmp_path / f"{i}.png", ("caption", text)) for i, text in enumerate(("a dog", "a dog on a beach"))]
    found = answers(make("relations", "en", *dogs), "which")
    assert found
    assert all("a dog on a beach" in question and "second" in answer.lower() for question, answer in found)


def test_what_is_common_is_named(tmp_path: Path) -> None:
    pair = [medium(tmp_path / f"{i}.png", ("caption", text)) for i, text in enumerate(("a red dog", "a red ship"))]
    assert {answer for _, answer in answers(make("relations", "en", *pair), "common")} == {
        "One thing connects them: red. The first picture: a red dog. The second picture: a red ship."
    }
    pair = [medium(tmp_path / f"{i}.png", ("caption", text)) for i, text in enumerate(("triangles", "a triangle"))]
    assert answers(make("relations", "en", *pair), "common") == set(), "neither connected nor not"


def test_counting_counts(tmp_path: Path) -> None:
    media = [medium(tmp_path / name, ("caption", text)) for name, text in (("a.png", "ship"), ("b.wav", "bell"))]
    media.append(medium(tmp_path / "c.png", ("caption", "tree")))
    found = answers(make("relations", "en", *media), "count")
    assert {answer for _, answer in found} <= {"Two pictures and one sound.", "One picture and one sound."}
    assert "Two pictures and one sound." in {answer for _, answer in found}


def test_malay_counts_and_names(tmp_path: Path) -> None:
    pair = [
        medium(tmp_path / f"{i}.png", ("caption", text), language="ms") for i, text in enumerate(("kapal", "pokok"))
    ]
    job = make("relations", "ms", *pair)
    assert {answer for _, answer in answers(job, "count")} == {"Dua gambar."}
    assert ("Gambar pertama: kapal. Gambar kedua: pokok.") in {answer for _, answer in answers(job, "compare")}


def test_translation_answers_in_the_other_language(tmp_path: Path) -> None:
    media = []
    for index, (english, malay) in enumerate((("ship", "kapal"), ("tree", "pokok"))):
        each = medium(tmp_path / f"{index}.png", ("name", english))
        each.annotations.append(Annotation(kind="name", text=malay, language="ms", sample="x"))
        media.append(each)
    found = answers(make("relations", "mixed", *media), "translate/image")
    assert found
    for question, answer in found:
        assert answer in (("Kapal.", "Pokok.") if "Malay" in question else ("Ship.", "Tree."))
        place = ("first" in question or "pertama" in question, "Kapal" in answer or "Ship" in answer)
        assert place[0] == place[1]


def test_a_merge_holds_everything(coco: Medium) -> None:
    """Muffin: caption, questions, objects of one image come together in one dialog."""
    made = draft(make("merge", "en", coco))
    said = normalised(" ".join(made.dialog.texts))
    assert {"answer", "summary"} <= set(made.templates)
    assert any(name.startswith("objects/") for name in made.templates)
    for words in ("dog chases a ball", "red", "summer the children wear short trousers", "two children"):
        assert words in said
    assert len(made.dialog.turns) >= 6


def test_a_description_is_all_facts(coco: Medium) -> None:
    turn = draft(make("description", "en", coco)).dialog.turns[0]
    assert turn.answer == (
        "A dog chases a ball. A brown dog runs after a red ball. Two children play with a dog in a garden. "
        "I see one dog, one ball and two children. The dog is at the bottom left. The ball is at the bottom right."
    )


def test_reasons_are_true(coco: Medium) -> None:
    job = make("reasoning", "en", coco)
    found = {answer for kind in ("more", "left", "larger") for _, answer in answers(job, f"reason/{kind}")}
    assert found == {
        "There are more children: I count two children, but only one dog.",
        "There are more children: I count two children, but only one ball.",
        "The dog, because it is at the bottom left, while the ball is at the bottom right.",
        "The dog: it spans about 12 percent of the picture, the ball only about 1 percent.",
    }
    assert {answer for _, answer in answers(job, "reason/why")} == {"Summer. The children wear short trousers."}


def test_objects_in_malay(tmp_path: Path) -> None:
    things = [{"name": "anjing", "box": [0, 0, 0.3, 0.3]}, {"name": "bola", "box": [0.8, 0.8, 1, 1]}]
    value = sample("1", "a.png", "", "Seekor anjing bermain.", language="ms", objects=[*things, {"name": "pokok"}])
    known = gather([write(tmp_path, [value]) / "train.jsonl"]).media[0]
    turn = draft(make("description", "ms", known)).dialog.turns[0]
    assert turn.answer == (
        "Seekor anjing bermain. Saya nampak satu anjing, satu bola dan satu pokok. "
        "Anjing berada di kiri atas. Bola berada di kanan bawah."
    )
    sides = answers(make("conversation", "ms", known), "objects/side")
    assert {answer for _, answer in sides} == {
        "Anjing berada di sebelah kiri bola.",
        "Bola berada di sebelah kanan anjing.",
    }


def test_a_question_is_asked_once_however_it_is_put(tmp_path: Path) -> None:
    samples = [
        sample("1", "a.png", "Which colour?", "red", task="toy/colour"),
        sample("2", "a.png", "Name the colour.", "red", task="toy/colour"),
        sample("3", "a.png", "Which shape?", "star", task="toy/shape"),
    ]
    known = gather([write(tmp_path, samples) / "train.jsonl"]).media[0]
    for seed in range(20):
        said = [turn.answer for turn in draft(make("conversation", "en", known, seed=seed)).dialog.turns]
        assert sorted(said) == ["Red.", "Star."]


def test_hostile_annotations_stay_text(tmp_path: Path) -> None:
    """Braces, quotes and line breaks of a data set end up as text, nowhere else."""
    text = 'a {it} "dog"\n{0} \\ %s'
    job = make("relations", "en", *(medium(tmp_path / f"{i}.png", ("caption", f"{text} {i}")) for i in range(2)))
    made = draft(job)
    assert "{it}" in " ".join(made.dialog.texts)
    assert json.loads(made.dialog.model_dump_json())
    assert all(mention.number in (None, 1, 2) for each in made.dialog.texts for mention in mentions(each))
