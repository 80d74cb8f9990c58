"""Reading samples: what is accepted, and how what is not is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from model.errors import DataError
from tests.training.parts import audio, image, sample, text, write_json_lines
from training.data import MediaRef, join_turns, read_samples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "c#1.png", "b.wav"):
        (tmp_path / name).write_bytes(b"only opened when it is encoded")
    save_file({"features": torch.zeros(3, 1, 8)}, tmp_path / "f.safetensors")
    return tmp_path


def good(**changes: Any) -> dict[str, Any]:
    return {**sample("s/1", ([image("a.png"), text("What?")], "red")), **changes}


def read(folder: Path, *values: Any) -> Any:
    return read_samples(write_json_lines(folder / "train.jsonl", list(values)))


def test_media_are_found_in_reading_order_beside_the_file(folder: Path) -> None:
    turns = (
        ([text("x"), audio("b.wav"), image("a.png")], "one"),
        ("no media here", "two"),
        ([image("c#1.png"), image("f.safetensors#2")], "three"),
    )
    (read_back,) = read(folder, sample("s/1", *turns, task="t", label="l"))
    assert read_back.media == [
        MediaRef("audio", folder / "b.wav"),
        MediaRef("image", folder / "a.png"),
        MediaRef("image", folder / "c#1.png"),
        MediaRef("image", folder / "f.safetensors", 2),
    ]
    assert (read_back.id, read_back.task, read_back.answer) == ("s/1", "t", "three")


def test_the_same_file_by_another_path_is_the_same_medium(folder: Path) -> None:
    other = sample("s/2", ([image(f"../{folder.name}/a.png")], "red"))
    first, second = read(folder, good(), other)
    assert first.media == second.media


def test_blank_lines_are_skipped_and_count(folder: Path) -> None:
    path = folder / "train.jsonl"
    path.write_text("\n" + json.dumps(good()) + "\n\n" + json.dumps(good(id="s/2", extra=1)) + "\n")
    with pytest.raises(DataError, match=r"train\.jsonl:4: unknown key 'extra'; known are id, messages, meta"):
        read_samples(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["not", "an", "object"], "expected a JSON object"),
        (good(label="red"), "unknown key 'label'; known are id, messages, meta"),
        (good(id=""), "id: expected a text that is not empty, got ''"),
        ({"messages": good()["messages"]}, "id: expected a text that is not empty, got None"),
        (good(meta=["task"]), r"meta: expected a JSON object, got \['task'\]"),
        (good(messages=[]), "messages: expected a list of at least one message"),
        (good(messages="hello"), "messages: expected a list"),
        (good(messages=[{"role": "robot", "content": "x"}]), r"messages\[0\]\.role: expected one of system, user"),
        (good(messages=["x"]), r"messages\[0\]\.role: expected one of"),
        (good(messages=good()["messages"][:1]), "messages: the last turn must be the assistant's"),
        (sample("s", ("x", " \n")), r"messages\[1\]\.content: an assistant turn must be text and not empty"),
        (sample("s", ("x", [text("red")])), r"messages\[1\]\.content: an assistant turn must be text"),  # type: ignore[arg-type]
        (sample("s", (None, "red")), r"messages\[0\]\.content: missing"),  # type: ignore[arg-type]
        (sample("s", ([{"type": "video"}], "x")), r"messages\[0\]\.content\[0\]: unknown part type 'video'"),
        (sample("s", ([{"type": "text"}], "x")), r"messages\[0\]\.content\[0\]\.text: expected a string"),
        (sample("s", ([text("x"), image("no.png")], "x")), r"messages\[0\]\.content\[1\]: .*no\.png does not exist"),
        (sample("s", ([image("")], "x")), "does not exist"),
        (sample("s", ([{"type": "image_url", "image_url": "a.png"}], "x")), r"\[0\]: expected {'image_url': {'url'"),
        (sample("s", ([image("https://example.com/a.png")], "x")), "is not a file; give a path relative"),
        (sample("s", ([image("f.safetensors#3")], "x")), r"'f.safetensors#3' names no row of .*, which has 3"),
        (sample("s", ([image("f.safetensors#-1")], "x")), "names no row of"),
        (sample("s", ([image("f.safetensors")], "x")), r"names no row of .*; write f\.safetensors#ROW from 0 on"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_place(folder: Path, values: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"train\.jsonl:2: .*{message}"):
        read(folder, good(id="before"), values)


def test_an_id_must_not_appear_twice(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:3: id 's/1' appears twice, first in line 1"):
        read(folder, good(), good(id="s/2"), good())


@pytest.mark.parametrize("line", [b'{"id": ', b'{"id": "\xff"}', b"NULL"])
def test_what_is_no_json_is_named_by_line(folder: Path, line: bytes) -> None:
    path = folder / "train.jsonl"
    path.write_bytes(json.dumps(good()).encode() + b"\n" + line + b"\n")
    with pytest.raises(DataError, match=r"train\.jsonl:2: not valid JSON"):
        read_samples(path)


def test_a_file_must_exist_and_hold_samples(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read \(No such file"):
        read_samples(folder / "none.jsonl")
    with pytest.raises(DataError, match=r"train\.jsonl: holds no samples"):
        read(folder)


@pytest.mark.parametrize("damage", ["other", "flat", "truncated"])
def test_a_feature_file_that_is_none_is_named(folder: Path, damage: str) -> None:
    path = folder / "g.safetensors"
    if damage == "truncated":
        path.write_bytes((folder / "f.safetensors").read_bytes()[:40])
    else:
        name, shape = {"other": ("weights", (3, 1, 8)), "flat": ("features", (3, 8))}[damage]
        save_file({name: torch.zeros(shape)}, path)
    with pytest.raises(DataError, match=r"train\.jsonl:1: .*g\.safetensors: .*'features'"):
        read(folder, sample("s", ([image("g.safetensors#0")], "x")))


def test_joined_turns_keep_their_order(folder: Path) -> None:
    samples = read(
        folder,
        sample("s/1", ([image("a.png"), text("one?")], "1"), task="first"),
        sample("s/2", ([audio("b.wav"), text("two?")], "2"), task="second"),
    )
    joined = join_turns(samples)
    assert [message["content"] for message in joined.messages if message["role"] == "assistant"] == ["1", "2"]
    assert [reference.modality for reference in joined.media] == ["image", "audio"]
    assert (joined.id, joined.task) == ("s/1+s/2", "first")
