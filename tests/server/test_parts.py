from typing import Any

import pytest

from server.parts import nth, parse_body, parts


def request(*contents: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content} for content in contents]}


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "BB", "format": "wav"}}


def test_paths_and_urls_in_reading_order() -> None:
    found = list(parts(request("plain", [{"type": "text", "text": "a"}, IMAGE], [SOUND, "bare", IMAGE])))
    assert [(part.path, part.modality) for part in found] == [
        ("messages[1].content[0]", None),
        ("messages[1].content[1]", "image"),
        ("messages[2].content[0]", "audio"),
        ("messages[2].content[1]", None),
        ("messages[2].content[2]", "image"),
    ]
    assert found[1].url == "data:image/png;base64,AA"
    assert found[2].url == "data:audio/wav;base64,BB"
    assert all(part.problem is None for part in found)


def test_media_are_counted_over_all_turns() -> None:
    body = request([IMAGE, SOUND], [IMAGE], [SOUND])
    second = nth(body, "audio", 1)
    assert second is not None
    assert second.path == "messages[2].content[0]"
    assert nth(body, "image", 2) is None


def test_responses_use_input() -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    found = list(parts({"input": [{"role": "user", "content": [part]}]}))
    assert [(part.path, part.url) for part in found] == [("input[0].content[0]", "data:image/png;base64,AA")]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "smell"}, "unknown part type 'smell'"),
        ({}, "needs a type"),
        (None, "needs a type"),
        (7, "needs a type"),
        ({"type": 7}, "needs a type"),
        ({"type": "text", "text": 7}, "must be a string"),
        ({"type": "image_url"}, "needs"),
        ({"type": "image_url", "image_url": {"url": None}}, "needs"),
        ({"type": "input_audio", "input_audio": {}}, "needs"),
        ({"type": "audio_url", "audio_url": []}, "needs"),
        ({"type": "video_url", "video_url": {"url": "data:,"}}, "not accepted"),
        ({"type": "image_embeds", "image_embeds": "AA"}, "not accepted"),
        ({"type": "x" * 1000}, "unknown part type"),
    ],
)
def test_problems(part: Any, words: str) -> None:
    (found,) = parts(request([part]))
    assert found.problem is not None
    assert words in found.problem
    assert len(found.problem) < 200


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"null", b"\xff\xfe", b'"text"', b"[" * 100_000])
def test_bodies_that_are_no_request(body: bytes) -> None:
    assert parse_body(body) == {}
    assert list(parts(parse_body(body))) == []


@pytest.mark.parametrize("messages", [None, 5, "text", [None], [5], [{"content": None}], [{"content": {"a": 1}}], [[]]])
def test_messages_of_any_shape(messages: Any) -> None:
    assert list(parts({"messages": messages})) == []
