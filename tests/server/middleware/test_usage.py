"""Token counts in OpenAI's form, in whole answers and streams; everything else untouched."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.exchange import Exchange, begin
from server.middleware.usage import OpenAIUsage, rewrite
from tests.support.asgi import application, post

SSE = "text/event-stream; charset=utf-8"


def exchange(times: int = 1) -> Exchange:
    """Of a prompt with two pictures and a sound that entered the engine so many times."""
    return Exchange(request_id="r", media_tokens={"image": 8 * times, "audio": 4 * times})


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


ENGINE = {
    "prompt_tokens": 30,
    "total_tokens": 35,
    "completion_tokens": 5,
    "prompt_tokens_details": {
        "cached_tokens": 16,
        "created_cache_tokens": None,
        "multimodal_tokens": {"image": 8, "audio": 4},
    },
}
DETAILS = {"cached_tokens": 16, "text_tokens": 18, "image_tokens": 8, "audio_tokens": 4}
ANSWER = {
    "id": "x",
    "choices": [{"message": {"content": 'say "usage":{"prompt_tokens":1} 🐈'}}],
    "usage": ENGINE,
    "tail": [{"usage": None}],
}


async def test_whole_answer() -> None:
    begin(exchange())
    body = compact(ANSWER)
    response = await post(OpenAIUsage(application(pieces=[body])))
    assert response.json() == {**ANSWER, "usage": {**ENGINE, "prompt_tokens_details": DETAILS}}
    assert int(response.headers["content-length"]) == len(response.content)


async def test_stream() -> None:
    begin(exchange())
    chunks = [{"choices": [1], "usage": None}, {"choices": [], "usage": ENGINE}]
    pieces = [b"data: " + compact(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]
    response = await post(OpenAIUsage(application(pieces=pieces, content_type=SSE)))
    first, second, done = response.content.split(b"\n\n")[:3]
    assert (first + b"\n\n", done + b"\n\n") == (pieces[0], pieces[2])
    assert json.loads(second.removeprefix(b"data: "))["usage"]["prompt_tokens_details"] == DETAILS


async def test_responses_api() -> None:
    begin(exchange())
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 2},
        "output_tokens": 1,
    }
    event = b"event: response.completed\ndata: " + compact({"response": {"usage": usage}}) + b"\n\n"
    response = await post(OpenAIUsage(application(pieces=[event, b""], content_type=SSE)), "/v1/responses")
    data = json.loads(response.content.partition(b"data: ")[2])
    assert data["response"]["usage"]["input_tokens_details"] == {
        "cached_tokens": 0,
        "cache_write_tokens": 2,
        "text_tokens": 8,
        "image_tokens": 8,
        "audio_tokens": 4,
    }


def test_a_beam_search_counts_its_prompt_once() -> None:
    rewritten = json.loads(rewrite(compact(ANSWER), exchange(times=7)))
    assert rewritten["usage"]["prompt_tokens_details"] == DETAILS


def test_text_has_no_media() -> None:
    usage = {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": None, "multimodal_tokens": None}}
    rewritten = json.loads(rewrite(compact({"usage": usage}), Exchange(request_id="r", media_tokens={"image": 0})))
    assert rewritten["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "text_tokens": 5, "image_tokens": 0}
    rewritten = json.loads(rewrite(compact({"usage": {"prompt_tokens": 5}}), Exchange(request_id="r")))
    assert rewritten["usage"]["prompt_tokens_details"] == {"cached_tokens": 0, "text_tokens": 5}


@pytest.mark.parametrize(
    ("status", "path", "kind"),
    [
        (400, "/v1/chat/completions", "application/json"),
        (200, "/v1/models", "application/json"),
        (200, "/v1/chat/completions", "text/plain"),
    ],
)
async def test_everything_else_passes(status: int, path: str, kind: str) -> None:
    begin(exchange())
    body = compact(ANSWER)
    assert (await post(OpenAIUsage(application(status, body, content_type=kind)), path)).content == body


async def test_whole_answer_in_pieces_passes() -> None:
    begin(exchange())
    body = compact(ANSWER)
    assert (await post(OpenAIUsage(application(pieces=[body[:50], body[50:]])))).content == body


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"usage":null}', b'{"usage":{broken', b'{"usage":{"prompt_tokens":' * 9]
)
def test_what_is_no_object_of_counts_passes(body: bytes) -> None:
    assert rewrite(body, exchange()) == body


LEAVES = st.text() | st.integers() | st.none()
JSON = st.recursive(LEAVES, lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner))


@settings(deadline=None)
@given(JSON)
def test_no_text_of_the_model_is_taken_for_counts(content: Any) -> None:
    answer = {"choices": [{"content": content, "text": json.dumps({"usage": {"prompt_tokens": 5}})}]}
    rewritten = json.loads(rewrite(compact(answer | {"usage": ENGINE}), exchange()))
    assert rewritten["choices"] == answer["choices"]
    assert rewritten["usage"]["prompt_tokens_details"] == DETAILS
