"""Every request that cannot be answered gets HTTP 400 in OpenAI's shape, names the part to blame, and hurts nobody."""

import base64
import io
import json
import struct
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.e2e.conftest import MAX_MEDIA
from tests.support.reference import audio, image, text, user
from tests.support.serving import ServerProcess
from tests.support.tiny import picture_bytes, sound, sound_bytes


def nan_sound() -> bytes:
    samples = sound(0)
    samples[100] = np.nan
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def lying_sound() -> bytes:
    """A WAV file whose header promises 2 GiB of samples."""
    data = bytearray(sound_bytes(0))
    data[40:44] = struct.pack("<I", 0x7FFFFFFF)
    return bytes(data)


def bomb() -> bytes:
    """A few kilobytes that are a picture of 100 million pixels."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return buffer.getvalue()


def url_part(url: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


# name: (content, index of the offending part, code, words of the message)
PARTS: dict[str, tuple[list[dict[str, Any]], int, str, str]] = {
    "not an image": ([text("Look:"), image(data=b"GIF89a? no, just words")], 1, "invalid_media", "picture"),
    "a sound as an image": ([text("Look:"), image(data=sound_bytes(0))], 1, "invalid_media", "not a picture"),
    "truncated image": (
        [image(0), image(data=picture_bytes(0)[:-60])],
        1,
        "invalid_media",
        "truncated",
    ),
    "image bomb": ([text("Look:"), image(data=bomb())], 1, "media_too_large", "10000x10000"),
    "empty image": ([image(data=b"")], 0, "invalid_media", "empty"),
    "empty audio": ([text("Hear:"), audio(0), audio(data=b"")], 2, "invalid_media", "empty (0 bytes)"),
    "audio without samples": ([text("Hear:"), audio(data=sound_bytes(0, seconds=0))], 1, "invalid_media", "no samples"),
    "lying audio header": ([text("Hear:"), audio(data=lying_sound())], 1, "invalid_media", "header promises"),
    "truncated audio": ([text("Hear:"), audio(data=sound_bytes(0)[:-2000])], 1, "invalid_media", "header promises"),
    "NaN samples": ([text("Hear:"), audio(data=nan_sound())], 1, "invalid_media", "NaN"),
    "an image as audio": ([audio(data=picture_bytes(0))], 0, "invalid_media", "not a sound"),
    "audio beyond the encoder": ([audio(0), audio(0, seconds=10.5)], 1, "media_too_large", "at most 10 s"),
    "broken base64": ([url_part("data:image/png;base64,@@@@")], 0, "invalid_media", "base64"),
    "remote URL": ([text("a"), url_part("http://127.0.0.1:9/cat.png")], 1, "invalid_media", "not fetched"),
    "local file": ([text("a"), url_part("file:///etc/passwd")], 1, "invalid_media", "not fetched"),
    "unknown part type": ([text("a"), {"type": "smell", "smell": "x"}], 1, "invalid_part", "unknown part type 'smell'"),
    "no part type": ([text("a"), {"text": "b"}], 1, "invalid_part", "needs a type"),
    "part is null": ([text("a"), None], 1, "invalid_part", "needs a type"),  # type: ignore[list-item]
    "no URL": ([{"type": "image_url", "image_url": {}}], 0, "invalid_part", "needs"),
    "URL is a number": ([url_part(5)], 0, "invalid_part", "needs"),
    "id instead of data": ([{"type": "image_url", "image_url": None, "uuid": "x"}], 0, "invalid_part", "needs"),
    "video": ([text("a"), {"type": "video_url", "video_url": {"url": "data:,"}}], 1, "invalid_part", "unknown part"),
    "embeddings": ([{"type": "image_embeds", "image_embeds": "AAAA"}], 0, "invalid_part", "unknown part"),
    "file that is no medium": (
        [text("a"), {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjcK"}}],
        1,
        "invalid_media",
        "neither a picture nor a sound",
    ),
    "file that is not there": (
        [{"type": "file", "file": {"file_id": "file-1"}}],
        0,
        "file_not_found",
        "no file with this id",
    ),
    "picture by an id": ([image(0), url_part("file-1")], 1, "file_not_found", "no file with this id"),
    "M4A": ([text("a"), audio(data=b"\x00\x00\x00\x20ftypM4A " + bytes(64))], 1, "invalid_media", "not a sound"),
    "too many images": ([image(0)] * (MAX_MEDIA + 2), MAX_MEDIA, "too_many_media", f"at most {MAX_MEDIA}"),
    "too many sounds": (
        [text("a"), *[audio(0)] * (MAX_MEDIA + 1)],
        MAX_MEDIA + 1,
        "too_many_media",
        f"at most {MAX_MEDIA}",
    ),
}


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error of a 400 answer, its shape checked."""
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert isinstance(error["code"], str)
    assert len(response.content) < 1500
    return dict(error)


@pytest.mark.parametrize("name", PARTS)
def test_bad_part_is_named(server: ServerProcess, name: str) -> None:
    content, position, code, words = PARTS[name]
    error = error_of(server.chat([user("Hello"), {"role": "assistant", "content": "Hi."}, user(*content)]))
    assert error["param"] == f"messages[2].content[{position}]"
    assert error["message"].startswith(error["param"])
    assert words in error["message"]
    assert error["code"] == code
    for part in content:
        if isinstance(part, dict) and part.get("type") == "image_url" and isinstance(part["image_url"], dict):
            payload = str(part["image_url"].get("url", "")).partition(",")[2]
            assert len(payload) < 40 or payload[:40] not in error["message"]


def test_the_first_of_several_bad_parts_is_named(server: ServerProcess) -> None:
    error = error_of(server.chat([user(audio(data=b"no"), image(0), image(data=b"neither"))]))
    assert error["param"] == "messages[0].content[0]"


def test_prompt_past_the_context_length(server: ServerProcess) -> None:
    for words in ("word " * 400, "x" * 100_000):
        error = error_of(server.chat([user(image(0), words)]))
        assert error["param"] == "messages"
        assert error["code"] == "context_length_exceeded"
        assert "1024" in error["message"]


def test_media_alone_can_exceed_the_context(server: ServerProcess) -> None:
    """The soft tokens count: this prompt fits before they are put in."""
    words = "word " * 315
    plain = server.chat([user(words)])
    assert plain.status_code == 200
    assert plain.json()["usage"]["prompt_tokens"] > 1024 - 4 * 2 * MAX_MEDIA
    error = error_of(server.chat([user(words, *[image(0), audio(0)] * MAX_MEDIA)]))
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{broken", None),
        (b"[]", None),
        (b"[" * 100_000, None),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": ' + b"[" * 50_000, None),
        (b'{"model": "tiny"}', "messages"),
        (b'{"model": "tiny", "messages": 5}', "messages"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "temperature": "hot"}', "temperature"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": -1}', "max_tokens"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 9999}', "max_tokens"),
    ],
)
def test_malformed_request(client: httpx.Client, body: bytes, param: str | None) -> None:
    headers = {"content-type": "application/json"}
    error = error_of(client.post("/v1/chat/completions", content=body, headers=headers))
    assert error["param"] == param
    assert "File" not in error["message"]


def test_unknown_model(client: httpx.Client) -> None:
    response = client.post("/v1/chat/completions", json={"model": "other", "messages": [user("a")]})
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"
    assert response.json()["error"]["code"] == "model_not_found"


def test_refused_streams_are_ordinary_errors(server: ServerProcess) -> None:
    error = error_of(server.chat([user(image(data=b"no"))], stream=True))
    assert error["param"] == "messages[0].content[0]"


def test_responses_route_names_its_own_path(client: httpx.Client) -> None:
    url = "data:image/png;base64," + base64.b64encode(b"no picture").decode()
    content = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": url}]
    body = {"model": "tiny", "input": [{"role": "user", "content": content}], "max_output_tokens": 4}
    assert error_of(client.post("/v1/responses", json=body))["param"] == "input[0].content[1]"


@pytest.mark.parametrize("spoil", [{"logit_bias": {"99999": 1}}, {"min_tokens": 9}, {"max_tokens": 2000}, {}])
def test_refused_request_does_not_spoil_its_media(server: ServerProcess, spoil: dict[str, Any]) -> None:
    """What was prepared for a request that is refused late is there, whole, for the next one."""
    picture, noise = image(100 + len(str(spoil))), audio(100 + len(str(spoil)))
    words = "" if spoil else "word " * 315
    refused = server.chat([user(words, *[picture, noise] * (MAX_MEDIA if words else 1))], **spoil)
    assert refused.status_code == 400
    for part in (picture, noise, picture):
        response = server.chat([user(part)])
        assert response.status_code == 200, response.text


def test_one_client_s_id_is_not_another_s_picture(server: ServerProcess) -> None:
    """An id sent with a medium must not become its key in the caches everybody shares."""
    first = {**image(0), "uuid": "same"}
    second = {**image(1), "uuid": "same"}
    responses = [server.chat([user(part)], logprobs=True) for part in (first, second, image(1))]
    assert [response.status_code for response in responses] == [200, 200, 200], [r.text for r in responses]
    answers = [response.json()["choices"][0] for response in responses]
    assert answers[0]["logprobs"] != answers[1]["logprobs"]
    assert json.dumps(answers[1]["logprobs"]) == json.dumps(answers[2]["logprobs"])
