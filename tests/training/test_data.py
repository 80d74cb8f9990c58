"""Reading samples: what is accepted, and how what is not is named."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model.errors import DataError
from tests.training.parts import audio, image, sample, text, write_json_lines
from training.data import MediaRef, inspect_sample, join_turns, read_samples, read_sources
from training.problems import Kind, ProblemLog


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
        (sample("s", ([image("/etc/hostname")], "x")), "'/etc/hostname' is absolute; give a path relative to this"),
        (sample("s", ([image("a\0.png")], "x")), "cannot be a file"),
        (sample("s", ([image("x" * 5000)], "x")), "cannot be a file"),
        (
            sample("s", ("x", [image("a.png")])),  # type: ignore[arg-type]
            r"messages\[1\]\.content: the assistant's turn holds a medium; only the user's",
        ),
        (
            good(messages=[{"role": "system", "content": [image("a.png")]}, *good()["messages"]]),
            r"messages\[0\]\.content: the system's turn holds a medium; only the user's may",
        ),
        (good(id="\ud800"), r"not valid JSON \(an escape spells half a character\)"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_place(folder: Path, values: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"train\.jsonl:2: .*{message}"):
        read(folder, good(id="before"), values)


def test_an_id_must_not_appear_twice(folder: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl:3: id 's/1' appears twice, first in line 1"):
        read(folder, good(), good(id="s/2"), good())


@pytest.mark.parametrize("line", [b'{"id": ', b'{"id": "\xff"}', b"NULL", b"[NaN]", b"[" * 100_000])
def test_what_is_no_json_is_named_by_line(folder: Path, line: bytes) -> None:
    path = folder / "train.jsonl"
    path.write_bytes(json.dumps(good()).encode() + b"\n" + line + b"\n")
    with pytest.raises(DataError, match=r"train\.jsonl:2: not valid JSON"):
        read_samples(path)


def test_a_line_has_a_longest_length(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.MAX_LINE", 2 << 20)
    path = folder / "train.jsonl"
    path.write_text(json.dumps(good()) + "\n" + " " * (3 << 20))
    with pytest.raises(DataError, match=r"train\.jsonl:2: longer than 2 MiB; give one sample per line"):
        read_samples(path)


def test_everything_wrong_with_a_sample_is_found(folder: Path) -> None:
    values = sample("s", ([image("no.png"), image("a.png"), audio("no.wav")], " "), ("x", "y"))
    found, errors = inspect_sample(values, folder, where="here")
    assert found is None
    assert [(error.kind, error.where) for error in errors] == [
        (Kind.EMPTY_ANSWER, "here"),
        (Kind.MISSING, "here"),
        (Kind.MISSING, "here"),
    ]


def test_media_stay_inside_the_root(folder: Path) -> None:
    (folder.parent / "outside.png").touch()
    (folder / "link.png").symlink_to(folder.parent / "outside.png")
    for name in ("../outside.png", "link.png"):
        path = write_json_lines(folder / "train.jsonl", [sample("s", ([image(name)], "x"))])
        assert read_samples(path)[0].media[0].path == folder.parent / "outside.png"
        with pytest.raises(DataError, match=rf"outside\.png lies outside {folder}"):
            read_samples(path, root=folder)


def test_problems_are_left_out_by_policy_and_counted(folder: Path, tmp_path: Path) -> None:
    bad = [good(id="2", extra=1), sample("3", ([image("no.png")], "x")), good(), sample("4", ("x", ""))]
    path = write_json_lines(folder / "train.jsonl", [good(), *bad, good(id="5")])
    with ProblemLog(shown=2, file=tmp_path / "problems.jsonl") as problems:
        samples = read_samples(path, on_problem="skip", problems=problems)
    assert [(s.id, s.where) for s in samples] == [("s/1", f"{path}:1"), ("5", f"{path}:6")]
    assert problems.total == 4
    assert problems.kinds == {Kind.SHAPE: 1, Kind.MISSING: 1, Kind.DUPLICATE_ID: 1, Kind.EMPTY_ANSWER: 1}
    first, second, more, counts = problems.lines()
    assert first == f"{path}:2: not a sample: unknown key 'extra'; known are id, messages, meta"
    assert second.startswith(f"{path}:3: missing medium: ")
    assert more == f"... and 2 more, all of them in {tmp_path}/problems.jsonl"
    assert counts == "1 not a sample, 1 missing medium, 1 duplicate id, 1 empty answer"
    written = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert [entry["where"] for entry in written] == [f"{path}:{line}" for line in (2, 3, 4, 5)]
    assert written[2]["message"] == "id 's/1' appears twice, first in line 1"


def test_nothing_is_left_out_unseen(folder: Path) -> None:
    with pytest.raises(ValueError, match="give a ProblemLog with on_problem='skip'"):
        read_samples(write_json_lines(folder / "train.jsonl", [good()]), on_problem="skip")
    with pytest.raises(DataError, match=r"train\.jsonl: holds no samples; 1 were unusable"):
        read_samples(write_json_lines(folder / "train.jsonl", [good(id="")]), on_problem="skip", problems=ProblemLog())
    assert list(ProblemLog().lines()) == []


def test_the_files_of_a_mixture_share_no_id(folder: Path) -> None:
    files = {
        "one": write_json_lines(folder / "one.jsonl", [good(id="1"), good(id="2")]),
        "two": write_json_lines(folder / "two.jsonl", [good(id="3"), good(id="2")]),
    }
    with pytest.raises(DataError, match=rf"two\.jsonl:2: id '2' appears twice, first in {files['one']}:2"):
        read_sources(files)
    problems = ProblemLog()
    samples = read_sources(files, on_problem={"two": "skip"}, problems=problems)
    assert {name: [s.id for s in members] for name, members in samples.items()} == {"one": ["1", "2"], "two": ["3"]}
    assert problems.kinds == {Kind.DUPLICATE_ID: 1}


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["user", "assistant", "image_url"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "messages", "meta", "role", "content", "type", "text", "image_url", "url"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_sample_or_an_error(values: Any) -> None:
    """And never any other exception."""
    found, errors = inspect_sample(values, Path("/nowhere"))
    assert (found is None) == bool(errors)


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
