"""Samples become annotated media: kinds by task, fields of meta, and every fault named."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import ConfigurationError, DataError
from tests.training.synthesis.parts import COCO, sample, write
from training.synthesis.gather import MAX_TEXT, gather, parse_rules


def test_kinds_follow_from_tasks(tmp_path: Path) -> None:
    samples = [
        sample("1", "a.png", "Describe it.", "a red dog", task="toy/describe"),
        sample("2", "a.png", "Which colour?", "red", task="toy/colour"),
        sample("3", "a.png", "Apakah ini?", "anjing", task="emoji/name", language="ms"),
        sample("4", "b.wav", "What is said?", "hello", task="speech/words-en"),
        sample("5", "c.png", "", "a ship", task="unknown"),
        sample("6", "d.wav", "What is it?", "a bell"),
    ]
    pool = gather([write(tmp_path, samples) / "train.jsonl"])
    found = [[(each.kind, each.text, each.question, each.language) for each in m.annotations] for m in pool.media]
    assert found == [
        [
            ("caption", "a red dog", "", "en"),
            ("answer", "red", "Which colour?", "en"),
            ("name", "anjing", "", "ms"),
        ],
        [("transcript", "hello", "", "en")],
        [("caption", "a ship", "", "en")],
        [("answer", "a bell", "What is it?", "en")],
    ]
    assert [medium.modality for medium in pool.media] == ["image", "audio", "image", "audio"]
    assert pool.samples == 6
    main = pool.media[0].main("en")
    assert main is not None
    assert main.text == "a red dog"
    assert pool.media[3].main("en") is None


def test_rules_can_be_given(tmp_path: Path) -> None:
    file = write(tmp_path, [sample("1", "a.png", "Write.", "a dog", task="my/task")]) / "train.jsonl"
    assert gather([file]).media[0].annotations[0].kind == "answer"
    assert gather([file], parse_rules(["caption=my/*"])).media[0].annotations[0].kind == "caption"
    for bad in ("caption", "poem=my/*", "object=x", "caption="):
        with pytest.raises(ConfigurationError, match="expected KIND=PATTERN"):
            parse_rules([bad])


def test_every_turn_of_a_conversation_is_an_answer(tmp_path: Path) -> None:
    value = sample("1", "a.png", "What is it?", "A dog.", task="llava/caption")
    value["messages"] += [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Outside."}]
    (medium,) = gather([write(tmp_path, [value]) / "train.jsonl"]).media
    assert [(each.kind, each.question, each.text) for each in medium.annotations] == [
        ("answer", "What is it?", "A dog."),
        ("answer", "Where?", "Outside."),
    ]


def test_fields_of_meta(tmp_path: Path) -> None:
    (medium,) = gather([write(tmp_path, [sample("1", "a.png", "", "A dog.", **COCO)]) / "train.jsonl"]).media
    assert len(medium.known("caption", "en")) == 3
    assert [each.text for each in medium.known("caption", "ms")] == ["Seekor anjing mengejar bola merah."]
    assert [(each.text, each.box) for each in medium.known("object")] == [
        ("dog", (0.0, 0.5, 0.3, 0.9)),
        ("ball", (0.7, 0.7, 0.8, 0.8)),
        ("child", None),
        ("child", None),
    ]
    assert medium.known("answer")[1].rationale == "The children wear short trousers."


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"caption": ""}, r"meta.caption: expected a text"),
        ({"captions": ["a", 3]}, r"meta.captions\[1\]: expected a text"),
        ({"captions": {"fr": "un chien"}}, r"meta.captions: 'fr' is not one of en, ms"),
        ({"transcript": {"ms": [None]}}, r"meta.transcript.ms\[0\]: expected a text"),
        ({"objects": {"name": "dog"}}, r"meta.objects: expected a list"),
        ({"objects": [{"box": [0, 0, 1, 1]}]}, r"meta.objects\[0\]: expected an object with box, name"),
        ({"objects": [{"name": "dog", "score": 1}]}, r"meta.objects\[0\]: expected an object with box, name"),
        ({"objects": [{"name": "dog", "box": [10, 20, 30, 40]}]}, r"meta.objects\[0\].box: expected \[left, top"),
        ({"objects": [{"name": "dog", "box": [0.5, 0, 0.2, 1]}]}, r"meta.objects\[0\].box"),
        ({"objects": [{"name": "dog", "box": [0, 0, True, 1]}]}, r"meta.objects\[0\].box"),
        ({"questions": [{"question": "Why?"}]}, r"meta.questions\[0\]: expected an object with answer, question"),
        ({"questions": [{"question": "Why?", "answer": 4}]}, r"meta.questions\[0\].answer: expected a text"),
    ],
)
def test_bad_fields_are_named(tmp_path: Path, meta: dict[str, Any], expected: str) -> None:
    good = sample("1", "a.png", "", "A dog.")
    folder = write(tmp_path, [good, sample("2", "a.png", "", "A dog.", **meta)])
    with pytest.raises(DataError, match=rf"train.jsonl:2.*{expected}"):
        gather([folder / "train.jsonl"])


def test_what_is_of_no_use_is_counted(tmp_path: Path) -> None:
    two = sample("2", "a.png", "Both?", "yes")
    two["messages"][0]["content"].append({"type": "image_url", "image_url": {"url": "b.png"}})
    none = {"id": "3", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    samples = [
        sample("1", "a.png", "", "A dog."),
        two,
        none,
        sample("4", "a.png", "", "Un chien.", language="fr"),
        sample("5", "a.png", "", "a dog"),
        sample("6", "a.png", "", "!!!"),
        sample("7", "a.png", "", "x" * (MAX_TEXT + 1)),
    ]
    pool = gather([write(tmp_path, samples) / "train.jsonl"])
    assert len(pool.media[0].annotations) == 1
    assert pool.skipped == {
        "sample with several media": 1,
        "sample without a medium": 1,
        "sample in language 'fr'": 1,
        "annotation known already": 1,
        "annotation without a word": 1,
        f"annotation of more than {MAX_TEXT} characters": 1,
    }


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    none = {"id": "3", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(none) + "\n")
    with pytest.raises(DataError, match="no sample has exactly one medium"):
        gather([tmp_path / "train.jsonl"])
    with pytest.raises(DataError, match="cannot be read"):
        gather([tmp_path / "none.jsonl"])
