"""The form of dialogs: read without forgiveness, and turned into messages that lead to the right files."""

import contextlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.synthesis.parts import dialog
from training.data import MediaRef
from training.synthesis.dialog import MalformedError, names_of, parse, schema, to_messages


def test_what_is_asked_for_is_read() -> None:
    text = '{"turns": [{"media": ["image 1"], "question": "What?", "answer": "A dog."}]}'
    assert parse(text) == dialog((["image 1"], "What?", "A dog."))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sure! Here it is:",
        "[]",
        "null",
        '{"turns": "none"}',
        '{"dialog": []}',
        '{"turns": [{"media": [], "question": "Q"}]}',
        '{"turns": [{"media": [], "question": "Q", "answer": "A", "note": "extra"}]}',
        '{"turns": [{"media": "image 1", "question": "Q", "answer": "A"}]}',
        '{"turns": [{"media": [1], "question": "Q", "answer": "A"}]}',
        '{"turns": [{"media": [], "question": "Q", "answer": 3}]}',
        '{"turns": [{"media": [], "question": "Q", "answer": null}]}',
        '{"turns": [{"media": [], "question": "Q", "answer": "A"}]',
        '{"turns": []} {"turns": []}',
        '```json\n{"turns": []}\n```',
        '{"turns": [' * 10_000,
        '{"turns": [{"media": [], "question": "\\ud800", "answer": "A"}]}',
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse(text)
    assert len(str(caught.value)) <= 200


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: data.decode("latin-1")))
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(MalformedError):
        parse(text)


def test_the_schema_names_the_media_and_is_closed() -> None:
    form = schema(["image 1", "audio 1"])
    turn = form["properties"]["turns"]["items"]
    assert turn["properties"]["media"]["items"]["enum"] == ["image 1", "audio 1"]
    for each in (form, turn):
        assert each["additionalProperties"] is False
        assert each["required"] == list(each["properties"])


@given(st.lists(st.sampled_from(["image", "audio"]), max_size=10))
def test_names_count_each_modality(modalities: list[str]) -> None:
    names = names_of(modalities)
    for modality in ("image", "audio"):
        own = [name for name in names if name.startswith(modality)]
        assert own == [f"{modality} {place}" for place in range(1, len(own) + 1)]
    assert [name.split()[0] for name in names] == modalities


def test_paths_lead_from_the_output_to_the_media(tmp_path: Path) -> None:
    media = {
        "image 1": MediaRef("image", tmp_path / "corpus/scenes/media/a b#1.png"),
        "audio 1": MediaRef("audio", tmp_path / "features.safetensors", 7),
    }
    messages = to_messages(
        dialog((["image 1", "audio 1"], " What? ", " A dog. ")), media, tmp_path / "corpus/new", random.Random(0)
    )
    parts = [part for part in messages[0]["content"] if part["type"] != "text"]
    assert parts == [
        {"type": "image_url", "image_url": {"url": "../scenes/media/a b#1.png"}},
        {"type": "audio_url", "audio_url": {"url": "../../features.safetensors#7"}},
    ]
    assert messages[1] == {"role": "assistant", "content": "A dog."}
