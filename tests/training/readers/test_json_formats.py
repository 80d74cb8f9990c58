"""LLaVA's and S3's JSON: turns, places of media, and every way in which they can be wrong."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DataError
from tests.training.readers.sources import problems, read, said, write, write_media
from training.problems import SampleError
from training.readers import Medium
from training.readers.json_items import CHUNK, json_items
from training.readers.markers import MARKERS, place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_media(tmp_path / "root")


def talk(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[index % 2], "value": value} for index, value in enumerate(values)]


def llava(*values: str, **record: Any) -> dict[str, Any]:
    return {"id": "1", "conversations": talk(*values), **record}


def test_llava(root: Path) -> None:
    records = [
        {
            "id": "000000033471",
            "image": "a.png",
            "conversations": talk("<image>\nWhat is it?", "A cat.", "And its colour?", "Red."),
        },
        llava("Compare <image>\n<image> with <audio>!", "They differ.", image=["b.png", "a.png"], audio="c.wav"),
        {
            "conversations": [{"from": "system", "value": "Be brief."}, *talk("Hello", "Hi")],
            "score": 0.5,
            "model": "",
            "box": [1, 2],
        },
    ]
    source = write(root / "d.json", json.dumps(records, indent=1))
    first, second, third = read("llava", source, root)
    assert said(first.turns) == [
        ("user", ["image:a.png", "What is it?"]),
        ("assistant", ["A cat."]),
        ("user", ["And its colour?"]),
        ("assistant", ["Red."]),
    ]
    assert said(second.turns)[0] == ("user", ["Compare ", "image:b.png", "image:a.png", " with ", "audio:c.wav", "!"])
    assert said(third.turns)[0] == ("system", ["Be brief."])
    assert (first.id, second.id, third.id, third.meta) == ("000000033471", "1", None, {"score": 0.5})
    lines = source.read_text().splitlines()
    for draft in (first, second, third):
        file, _, line = draft.where.rpartition(":")
        assert (Path(file), lines[int(line) - 1]) == (source, " {"), "the line an item begins in"


LLAVA_PROBLEMS = [
    (["no object"], "expected an object with conversations"),
    ({"id": 1}, "expected an object with conversations"),
    (llava("<image>\nWhat?", "x"), "1 markers <image> for 0 media of kind image"),
    (llava("What?", "x", image="a.png"), "0 markers <image> for 1 media of kind image"),
    (llava("<image><image>", "x", image=["a.png"]), "2 markers <image> for 1 media of kind image"),
    (llava("What?", "<image>", image="a.png"), "turn 2 is the assistant's and holds <image>; only the user's may"),
    (llava("<image>", "x", image="no.png"), "image: no.png does not exist"),
    (llava("<image>", "x", image="../secret.png"), "lies outside ROOT"),
    (llava("<image>", "x", image="/etc/hostname"), "image: /etc/hostname lies outside ROOT"),
    (llava("<image>", "x", image="link.png"), "lies outside ROOT"),
    (llava("<image>", "x", image="a\0.png"), "cannot be a file"),
    (llava("<image>", "x", image="x" * 5000), "cannot be a file"),
    (llava("<image>", "x", image="loop.png"), "cannot be a file"),
    (llava("<image>", "x", image=7), "image: expected the name of a file, got 7"),
    (llava("<image>", "x", image="https://example.com/a.png"), "is not a file; fetch the media first"),
    (llava("<image>", "x", video="a.mp4"), "video: only pictures and sounds are read"),
    (llava("a", "b", "c"), "the last turn must be the assistant's"),
    (llava("a", "  "), "turn 2: the assistant says nothing"),
    (llava(), "conversations: expected a list of at least one turn, got []"),
    ({"conversations": talk("a", "b")[::-1]}, "turn 1 is the assistant's, expected the user's"),
    ({"conversations": [*talk("a", "b"), *talk("c", "d")[1:]]}, "turn 3 is the assistant's, expected the user's"),
    ({"conversations": [{"from": "robot", "value": "x"}]}, "conversations[0].from: 'robot' is not one of human"),
    ({"conversations": [{"from": ["x"], "value": "x"}]}, "conversations[0].from: ['x'] is not one of"),
    ({"conversations": [{"from": "human"}]}, "conversations[0].value: expected a text, got None"),
    ({"conversations": ["hello"]}, "conversations[0]: expected an object, got 'hello'"),
    ({"conversations": [{"text": "hello"}]}, "conversations[0]: expected from and value, role and content"),
]


@pytest.mark.parametrize(("record", "message"), LLAVA_PROBLEMS)
def test_what_is_wrong_in_llava_is_named_by_line(root: Path, record: Any, message: str) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    (root / "loop.png").symlink_to("loop.png")
    good = llava("Hello", "Hi")
    source = write(root / "d.json", "[\n" + ",\n".join(map(json.dumps, (good, record, good))) + "\n]")
    (found,) = problems("llava", source, root)
    assert found.startswith("d.json:3: ")
    assert message in found
    with pytest.raises(SampleError, match=r"d\.json:3: "):
        read("llava", source, root)


def message(role: str, content: str, kind: str = "text", **more: Any) -> dict[str, Any]:
    return {"role": role, "type": kind, "content": content, **more}


def test_s3(root: Path) -> None:
    """The examples of the format's documentation and of its tests: media before, after and between texts."""
    records: list[dict[str, Any]] = [
        {
            "id": "0",
            "messages": [
                message("system", "You are a Multimodal AI assistant."),
                message("user", "a.png", "image"),
                message("user", str(root / "b.png"), "image"),
                message("user", "What's the difference?", disable_loss=True),
                message("bot", "A dog and a cat."),
                message("user", "What about this one?"),
                message("user", "c.wav", "audio"),
                message("bot", "Sorry..."),
            ],
        },
        {
            "id": 1,
            "source": "example",
            "meta": {"name": "debug"},
            "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hi"}],
        },
    ]
    source = write(root / "d.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    first, second = read("s3", source, root)
    assert said(first.turns) == [
        ("system", ["You are a Multimodal AI assistant."]),
        ("user", ["image:a.png", "image:b.png", "What's the difference?"]),
        ("assistant", ["A dog and a cat."]),
        ("user", ["What about this one?", "audio:c.wav"]),
        ("assistant", ["Sorry..."]),
    ]
    assert (second.id, second.meta, second.where) == ("1", {"name": "debug", "source": "example"}, f"{source}:2")


HI = [message("user", "hi")]
S3_PROBLEMS = [
    ([1], "expected an object with a list of messages"),
    ({"messages": "x"}, "expected an object with a list of messages"),
    ({"messages": []}, "the last turn must be the assistant's"),
    ({"messages": ["x"]}, "messages[0]: expected an object"),
    ({"messages": HI}, "the last turn must be the assistant's"),
    ({"messages": [message("human", "hi")]}, "messages[0].role: 'human' is not one of system, user, bot, assistant"),
    ({"messages": [{"role": None}]}, "messages[0].role: None is not one of"),
    ({"messages": [message("user", "hi", name="x")]}, "messages[0]: unknown key 'name'; known are role"),
    ({"messages": [message("user", "a.mp4", "video")]}, "messages[0].type: 'video' is not one of text, image, audio"),
    ({"messages": [message("user", "hi", [])]}, "messages[0].type: [] is not one of text"),  # type: ignore[arg-type]
    ({"messages": [message("user", 5)]}, "messages[0].content: expected a text, got 5"),  # type: ignore[arg-type]
    ({"messages": [message("user", "no.png", "image")]}, "messages[0].content: no.png does not exist"),
    ({"messages": [message("user", "../secret.png", "image")]}, "lies outside ROOT"),
    ({"messages": [*HI, message("bot", "a.png", "image")]}, "turn 2 is the assistant's and holds a medium"),
    ({"messages": [*HI, message("bot", "")]}, "turn 2: the assistant says nothing"),
    ({"messages": [*HI, message("bot", "a"), message("bot", "b")]}, "turn 3 is the assistant's, expected the user's"),
    ({"messages": [*HI, message("bot", "a", disable_loss=True)]}, "messages[1].disable_loss: every answer is learned"),
]


@pytest.mark.parametrize(("record", "message"), S3_PROBLEMS)
def test_what_is_wrong_in_s3_is_named_by_line(root: Path, record: Any, message: str) -> None:
    good = {"messages": [*HI, {"role": "bot", "content": "hi"}]}
    source = write(root / "d.jsonl", "\n\n".join(map(json.dumps, (good, record, good))))
    (found,) = problems("s3", source, root)
    assert found.startswith("d.jsonl:3: ")
    assert message in found


def test_a_line_that_is_no_json_is_one_problem(root: Path) -> None:
    good = json.dumps({"messages": [*HI, {"role": "bot", "content": "hi"}]})
    half = json.dumps({"messages": [message("user", "\ud800"), message("bot", "x")]})
    source = write(root / "d.jsonl", "\n".join([good, "{", "NaN", half, "[" * 100_000, good]))
    assert [found.partition(" (")[0] for found in problems("s3", source, root)] == [
        f"d.jsonl:{line}: not valid JSON" for line in (2, 3, 4, 5)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}", r":1: not valid JSON \(expected ',', found 'the end'\)"),
        ("[\n{},\n{]", r":3: not valid JSON"),
        ("[{}\n]\nx", r":3: not valid JSON \(something follows the array\)"),
        ("[{} {}]", r":1: not valid JSON \(expected ',', found '{'\)"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
        ("[\xff]", "not UTF-8"),
        ("[NaN]", "NaN is no JSON number"),
    ],
)
def test_a_damaged_array_is_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "d.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        list(json_items(path))


def test_a_file_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read("llava", tmp_path / "none.json", tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read("s3", tmp_path, tmp_path)


def test_items_longer_than_the_buffer(tmp_path: Path) -> None:
    """Cut anywhere by the buffer's end: in a text, in an escape, in a number."""
    items = [{"a": "é" * (CHUNK // 2)}, 12345678, {"b": "\n" * CHUNK}, ["x" * (3 * CHUNK)], 1.5, {}]
    path = write(tmp_path / "d.json", items)
    assert [item for _, item in json_items(path)] == items


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),  # text has no half characters
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=30, deadline=None)
@given(items=st.lists(JSON), indent=st.sampled_from([None, 0, 2]), chunk=st.integers(1, 9), plain=st.booleans())
def test_an_array_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], indent: int | None, chunk: int, plain: bool
) -> None:
    path = tmp_path_factory.mktemp("array") / "d.json"
    path.write_text(json.dumps(items, indent=indent, ensure_ascii=plain), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.readers.json_items.CHUNK", chunk)
        assert [item for _, item in json_items(path)] == items


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=60), start=st.sampled_from([b"", b"[", b'[{"a": ', b'{"conversations": ']))
def test_noise_is_an_error_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("noise") / "d.json"
    path.write_bytes(start + noise)
    for name in ("llava", "s3"):
        with contextlib.suppress(DataError):
            problems(name, path, path.parent)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([*MARKERS, "a", " b ", "\n", "<im"]), max_size=6), min_size=1, max_size=4))
def test_media_stand_where_their_markers_are(turns: list[list[str]]) -> None:
    """In the order of the markers of their kind, and the text around them stays."""
    texts = [("user", ["".join(words)]) for words in turns]
    wanted = [word for words in turns for word in words if word in MARKERS]
    media = [Medium(MARKERS[word], data=str(index).encode()) for index, word in enumerate(wanted)]
    placed = [part for turn in place(texts, media) for part in turn.parts]
    assert [part for part in placed if isinstance(part, Medium)] == media
    spoken = "".join(part for part in placed if isinstance(part, str))
    assert spoken.replace("\n", "") == "".join(w for ws in turns for w in ws if w not in MARKERS).replace("\n", "")
