"""Content parts: found at their place, brought into two forms, refused by path."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import MediaError
from server import resolvers
from server.content import Part, normalise, nth
from server.errors import RefusedError
from server.resolvers import register_resolver
from tests.support.tiny import picture_bytes, sound_bytes

PICTURE = base64.b64encode(picture_bytes(0)).decode()
SOUND = base64.b64encode(sound_bytes(0)).decode()
PICTURE_URL, SOUND_URL = f"data:image/png;base64,{PICTURE}", f"data:audio/wav;base64,{SOUND}"


def messages(*contents: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content} for content in contents]


async def read(*contents: Any) -> tuple[list[Part], list[Any]]:
    """The parts of messages, and their contents afterwards."""
    items = messages(*contents)
    return await normalise(items, "messages"), [item["content"] for item in items]


def image_url(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def audio_url(url: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


async def test_paths_in_reading_order() -> None:
    found, _ = await read(
        "plain", [{"type": "text", "text": "a"}, image_url("data:,A")], [audio_url("data:,B"), "bare"]
    )
    assert [(part.path, part.modality, part.url) for part in found] == [
        ("messages[1].content[0]", None, None),
        ("messages[1].content[1]", "image", "data:,A"),
        ("messages[2].content[0]", "audio", "data:,B"),
        ("messages[2].content[1]", None, None),
    ]


async def test_media_are_counted_over_all_turns() -> None:
    found, _ = await read([image_url("data:,A"), audio_url("data:,B")], [image_url("data:,C")], [audio_url("data:,D")])
    second = nth(found, "audio", 1)
    assert second is not None
    assert second.path == "messages[2].content[0]"
    assert nth(found, "image", 2) is None


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "image_url", "image_url": {"url": PICTURE_URL, "detail": "low"}}, image_url(PICTURE_URL)),
        ({"type": "image_url", "image_url": PICTURE_URL, "uuid": "mine"}, image_url(PICTURE_URL)),
        ({"type": "input_image", "image_url": PICTURE_URL, "detail": "high"}, image_url(PICTURE_URL)),
        ({"type": "input_image", "image_url": {"url": PICTURE_URL}}, image_url(PICTURE_URL)),
        ({"type": "input_audio", "input_audio": {"data": SOUND, "format": "mp3"}}, audio_url(f"data:;base64,{SOUND}")),
        ({"type": "input_audio", "input_audio": {"data": SOUND_URL, "format": "wav"}}, audio_url(SOUND_URL)),
        ({"type": "audio_url", "audio_url": {"url": SOUND_URL}}, audio_url(SOUND_URL)),
        ({"type": "file", "file": {"file_data": PICTURE_URL, "filename": "song.wav"}}, image_url(PICTURE_URL)),
        ({"type": "file", "file": {"file_data": SOUND, "filename": "cat.png"}}, audio_url(f"data:;base64,{SOUND}")),
        ({"type": "input_file", "file_data": PICTURE_URL, "filename": "x"}, image_url(PICTURE_URL)),
        ({"type": "input_file", "file_url": SOUND_URL}, audio_url(SOUND_URL)),
    ],
)
async def test_every_form_of_a_medium(part: dict[str, Any], expected: dict[str, Any]) -> None:
    _, (content,) = await read([part])
    assert content == [expected]


async def test_texts_stay_as_they_are() -> None:
    parts = [
        {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "input_text", "text": ""},
        {"type": "output_text", "text": "b", "annotations": []},
        {"type": "refusal", "refusal": "no"},
    ]
    _, (content,) = await read(list(parts))
    assert content == parts


async def test_items_of_the_responses_api() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE_URL}]},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_image", "image_url": PICTURE_URL}]},
        {"type": "function_call_output", "call_id": "2", "output": "text"},
    ]
    found = await normalise(items, "input")
    assert [part.path for part in found] == ["input[0].content[0]", "input[1].output[0]"]
    assert items[1]["output"] == [image_url(PICTURE_URL)]


class Files:
    """Two uploaded files."""

    kept = {"file-id:file-1": b"picture", "file-id:file-2": b"sound"}

    async def modality(self, url: str) -> str:
        if url not in self.kept:
            raise MediaError("there is no such file")
        return "image" if self.kept[url] == b"picture" else "audio"

    async def read(self, url: str) -> bytes:
        return self.kept[url]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "_resolvers", dict(resolvers._resolvers))
    register_resolver("file-id", Files())


@pytest.mark.usefixtures("files")
async def test_files_are_found_through_their_resolver() -> None:
    _, (content,) = await read(
        [
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "file": {"file_id": "file-2"}},
            {"type": "input_file", "file_id": "file-2"},
            {"type": "image_url", "image_url": {"url": "file-1"}},
            {"type": "image_url", "image_url": {"file_id": "file-1"}},
            {"type": "input_image", "file_id": "file-1"},
            {"type": "input_audio", "input_audio": {"file_id": "file-2"}},
        ]
    )
    assert [part["type"] for part in content] == [
        "image_url",
        "audio_url",
        "audio_url",
        "image_url",
        "image_url",
        "image_url",
        "audio_url",
    ]
    with pytest.raises(RefusedError, match=r"messages\[0\].content\[0\]: there is no such file"):
        await read([{"type": "file", "file": {"file_id": "file-3"}}])


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "smell"}, "unknown part type 'smell'"),
        ({}, "needs a type"),
        (None, "needs a type"),
        (7, "needs a type"),
        ({"type": 7}, "needs a type"),
        ({"type": "text", "text": 7}, "must be a string"),
        ({"type": "text"}, "must be a string"),
        ({"type": "image_url"}, "needs"),
        ({"type": "image_url", "image_url": {"url": None}}, "needs"),
        ({"type": "image_url", "image_url": None, "uuid": "x"}, "needs"),
        ({"type": "input_audio", "input_audio": {}}, "needs"),
        ({"type": "input_audio", "input_audio": {"data": 5}}, "needs"),
        ({"type": "audio_url", "audio_url": []}, "needs"),
        ({"type": "file", "file": {}}, "needs"),
        ({"type": "file", "file": {"filename": "a.png"}}, "needs"),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,aGVsbG8="}}, "neither a picture nor a sound"),
        ({"type": "file", "file": {"file_data": "data:;base64,@@@@"}}, "base64"),
        ({"type": "file", "file": {"file_data": "data:nothing"}}, "not a base64 data URL"),
        ({"type": "file", "file": {"file_id": "file-1"}}, "keeps no files"),
        ({"type": "input_file", "file_url": "https://a.org/x.png"}, "not fetched"),
        ({"type": "video_url", "video_url": {"url": "data:,"}}, "unknown part type"),
        ({"type": "image_embeds", "image_embeds": "AA"}, "unknown part type"),
        ({"type": "x" * 1000}, "unknown part type"),
    ],
)
async def test_problems_are_named_by_their_place(part: Any, words: str) -> None:
    with pytest.raises(RefusedError) as raised:
        await read("a", [{"type": "text", "text": "a"}, part])
    error = raised.value.error
    assert error.param == "messages[1].content[1]"
    assert error.message.startswith("messages[1].content[1]: ")
    assert words in error.message
    assert len(error.message) < 250
    assert error.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "output", "text", "image_url", "url", "file", "file_data", "data", "role"]
            )
            | st.text(max_size=4),
            inner | st.sampled_from(["text", "image_url", "input_audio", "file", "input_file"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=200)
@given(items=JSON)
async def test_any_json_is_read_or_refused(items: Any) -> None:
    refused: RefusedError | None = None
    parts: list[Part] = []
    try:
        parts = await normalise(items, "messages")
    except RefusedError as error:
        refused = error
    if refused is not None:
        assert refused.error.status == 400
        assert str(refused.error.param).startswith("messages[")
        assert json.loads(refused.error.body())["error"]["param"] == refused.error.param
    assert len({part.path for part in parts}) == len(parts)
