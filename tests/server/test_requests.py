"""Bodies become the engine's request objects, or a refusal that names the field."""

from typing import Any

import pytest
from starlette.requests import Request
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest

from server.errors import RefusedError
from server.exchange import Exchange, begin, current_exchange
from server.requests import json_path, read, validated
from server.routes.generation import responses_request

MESSAGES = [{"role": "user", "content": "a"}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def request(body: bytes, content_type: str | None = "application/json") -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    headers = [] if content_type is None else [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_read(kind: str) -> None:
    begin(Exchange(request_id="r"))
    assert await read(request(b'{"messages": [], "x": 1e3}', kind)) == {"messages": [], "x": 1000.0}
    assert current_exchange().prompt_param == "messages"


@pytest.mark.parametrize("kind", [None, "", "text/plain", "multipart/form-data; boundary=x", "application/x-json"])
async def test_anything_else_is_unsupported(kind: str | None) -> None:
    with pytest.raises(RefusedError) as raised:
        await read(request(b"{}", kind))
    assert raised.value.error.status == 415


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\xfa",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"1" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b'"text"',
        b"5",
    ],
)
async def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as raised:
        await read(request(body))
    assert (raised.value.error.status, raised.value.error.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("cls", "change", "param", "code"),
    [
        (ChatCompletionRequest, {"temperature": "hot"}, "temperature", "invalid_type"),
        (ChatCompletionRequest, {"n": "x"}, "n", "invalid_type"),
        (ChatCompletionRequest, {"top_logprobs": -7}, "top_logprobs", None),
        (ChatCompletionRequest, {"seed": 2**70}, "seed", "integer_above_max_value"),
        (ChatCompletionRequest, {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
        (ChatCompletionRequest, {"response_format": {"type": "poem"}}, "response_format.type", "invalid_value"),
        (ChatCompletionRequest, {"stop": [1]}, None, None),
        (CompletionRequest, {"prompt": "a", "echo": "perhaps"}, "echo", "invalid_type"),
        # The engine takes these apart before it looks at their types.
        (ChatCompletionRequest, {"structured_outputs": 0}, "structured_outputs", "invalid_type"),
        (ChatCompletionRequest, {"structured_outputs": ["json"]}, "structured_outputs", "invalid_type"),
        (CompletionRequest, {"prompt": "a", "structured_outputs": 0}, "structured_outputs", "invalid_type"),
        (ChatCompletionRequest, {"stream": True, "stream_options": 1}, "stream_options", "invalid_type"),
        (ChatCompletionRequest, {"tools": 1, "tool_choice": "auto"}, "tools", "invalid_type"),
    ],
)
def test_wrong_fields_are_named(cls: Any, change: dict[str, Any], param: str | None, code: str | None) -> None:
    with pytest.raises(RefusedError) as raised:
        validated(cls, {"model": "m", "messages": MESSAGES, **change})
    error = raised.value.error
    assert error.status == 400
    assert error.message
    assert "https://" not in error.message
    if param is not None:
        assert error.param == param
    if code is not None:
        assert error.code == code


def test_missing_fields_are_named() -> None:
    with pytest.raises(RefusedError) as raised:
        validated(ChatCompletionRequest, {"model": "m"})
    assert (raised.value.error.param, raised.value.error.code) == ("messages", "missing_required_parameter")


def test_paths() -> None:
    location = ("messages", 0, "ChatCompletionUserMessageParam", "content", "list[union[...]]", 3, "image_url")
    assert json_path(location) == "messages[0].content[3].image_url"
    assert json_path(("stop", "str")) == "stop"
    assert json_path(()) is None


def test_media_of_the_responses_api_stay_at_their_place() -> None:
    sound = {"type": "audio_url", "audio_url": {"url": "data:;base64,AA"}}
    content = [{"type": "input_text", "text": "a"}, PICTURE, {"type": "input_text", "text": "b"}, sound]
    items = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": content},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}]},
        {"role": "user", "content": [PICTURE]},
    ]
    made = responses_request({"model": "m", "input": items})
    assert isinstance(made.input, list)
    assert [item["content"] for item in made.input if isinstance(item, dict) and "content" in item][1] == content
    assert made.input[3]["content"] == [PICTURE]  # type: ignore[index,call-overload,typeddict-item]


UNKNOWN = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]


@pytest.mark.parametrize(
    ("body", "param"),
    [({}, "input"), ({"input": "a", "top_p": "x"}, "top_p"), ({"input": UNKNOWN}, "input[0].content[0].type")],
)
def test_bad_responses_requests_are_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as raised:
        responses_request(body)
    assert raised.value.error.status == 400
    assert raised.value.error.param == param
