"""Every error in OpenAI's shape, whole and in the middle of a stream."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from model.errors import MediaError
from server.asgi import Message, Receive, Scope, Send
from server.content import Part
from server.errors import MAX_MESSAGE, ApiError, RefusedError, clean, refuse
from server.exchange import Exchange, begin, current_exchange
from server.middleware.errors import OpenAIErrors, explain
from tests.support.asgi import application, error_of, post, send_all

PARTS = [
    Part("messages[0].content[0]"),
    Part("messages[0].content[1]", "image", "data:,A"),
    Part("messages[0].content[2]", "image", "data:,B"),
]


def exchange(**known: Any) -> Exchange:
    return Exchange(request_id="r", parts=PARTS, prompt_param="messages", **known)


async def test_success_passes_untouched() -> None:
    response = await post(OpenAIErrors(application(200, b"data: 1\n\ndata: 2\n\n", content_type="text/x")))
    assert response.content == b"data: 1\n\ndata: 2\n\n"
    assert response.headers["content-type"] == "text/x"


async def test_streams_are_not_held_back() -> None:
    """Each piece is sent on before the next one is made."""
    sent: list[Message] = []
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            seen.append(len(sent))

    async def send(message: Message) -> None:
        sent.append(message)

    await OpenAIErrors(app)({"type": "http", "method": "GET", "path": "/"}, None, send)  # type: ignore[arg-type]
    assert seen == [2, 3, 4]


async def test_failed_medium_is_named_by_its_place() -> None:
    begin(exchange())

    def fail() -> None:
        current_exchange().failures["data:,B"] = MediaError("damaged")

    engine = {"message": "damaged (parameter=messages)", "type": "BadRequestError", "param": None, "code": 400}
    error = error_of(await post(OpenAIErrors(application(400, {"error": engine}, act=fail))))
    assert error == {
        "message": "messages[0].content[2]: damaged",
        "type": "invalid_request_error",
        "param": "messages[0].content[2]",
        "code": "invalid_media",
    }


async def test_concurrent_requests_keep_their_failures_apart() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begin(Exchange(request_id=scope["path"]))
        current_exchange().failures[scope["path"]] = MediaError("x")
        await asyncio.sleep(0)
        assert list(current_exchange().failures) == [scope["path"]]
        await application(200, b"fine")(scope, receive, send)

    answers = await asyncio.gather(*(post(OpenAIErrors(app), f"/{index}") for index in range(8)))
    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        (
            {"message": "at most 1 image parts are accepted", "param": "image[1]"},
            "messages[0].content[2]",
            "too_many_media",
        ),
        ({"message": "it lasts, at most 30 s", "param": "image[0]"}, "messages[0].content[1]", "media_too_large"),
        ({"message": "This model's maximum context length is 5 tokens"}, "messages", "context_length_exceeded"),
        ({"message": "no", "param": "temperature"}, "temperature", "invalid_value"),
        ({"message": "no", "param": None}, None, "invalid_request"),
        ({"message": "no", "param": "image[7]"}, "image[7]", "invalid_value"),
        ({"message": "no", "param": 5, "code": 400}, None, "invalid_request"),
        ({}, None, "invalid_request"),
    ],
)
def test_engine_s_words_are_explained(given: dict[str, Any], param: str | None, code: str) -> None:
    for status in (400, 422):
        error = explain(status, given, exchange())
        assert error.status == 400
        assert (error.content["param"], error.content["code"]) == (param, code)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "authentication_error", "invalid_api_key"),
        (403, "permission_error", "forbidden"),
        (404, "not_found_error", "not_found"),
        (405, "invalid_request_error", "method_not_allowed"),
        (408, "timeout_error", "timeout"),
        (413, "invalid_request_error", "request_too_large"),
        (415, "invalid_request_error", "unsupported_media_type"),
        (422, "invalid_request_error", "invalid_request"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", "internal_error"),
        (503, "server_error", "unavailable"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"plain text", b"[1]", b'{"detail": "Not Found"}', b'{"error": "text"}', b"[" * 9999]
)
async def test_every_status_and_body(status: int, kind: str, code: str, body: bytes) -> None:
    response = await post(OpenAIErrors(application(status, body, content_type="text/x")))
    assert response.status_code == (400 if status == 422 else status)
    assert response.headers["x-mine"] == "1"
    assert ("retry-after" in response.headers) == (status in (429, 503))
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == (kind, code, None)
    assert error["message"]


async def test_engine_s_own_retry_after_stays() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": [(b"Retry-After", b"7")]})
        await send({"type": "http.response.body", "body": b"{}"})

    assert (await post(OpenAIErrors(app))).headers["retry-after"] == "7"


async def test_what_a_route_refuses_is_answered() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RefusedError(ApiError(status=429, message="slow down", retry_after=2.5))

    response = await post(OpenAIErrors(app))
    assert response.status_code == 429
    assert (response.headers["retry-after"], response.headers["retry-after-ms"]) == ("3", "2500")
    assert error_of(response)["message"] == "slow down"


async def test_exceptions_become_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("secret path and data")

    response = await post(OpenAIErrors(app))
    assert response.status_code == 500
    assert "secret" not in response.text
    assert error_of(response)["type"] == "server_error"
    assert "secret" in caplog.text


async def test_a_client_that_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ClientDisconnect

    assert await send_all(OpenAIErrors(app), []) == []
    assert caplog.text == ""


def events(body: bytes) -> list[Any]:
    """The data of a stream of events."""
    lines = [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_engine_s_error_in_a_stream_is_rewritten() -> None:
    engine = {"message": "Internal server error", "type": "InternalServerError", "param": None, "code": 500}
    pieces = [
        b'data: {"choices":[]}\n\n',
        b"data: " + json.dumps({"error": engine}).encode() + b"\n\n",
        b"data: [DONE]\n\n",
    ]
    response = await post(OpenAIErrors(application(pieces=pieces, content_type="text/event-stream; charset=utf-8")))
    assert events(response.content) == [
        {"choices": []},
        {
            "error": {
                "message": "Internal server error",
                "type": "server_error",
                "param": None,
                "code": "internal_error",
            }
        },
        "[DONE]",
    ]


async def test_words_about_errors_in_a_stream_stay() -> None:
    chunk = json.dumps({"choices": [{"delta": {"content": 'data: {"error": 1}'}}]}).encode()
    pieces = [b"data: " + chunk + b"\n\n", b'data: {"error"', b"data: [DONE]\n\n"]
    response = await post(OpenAIErrors(application(pieces=pieces, content_type="text/event-stream")))
    assert response.content == b"".join(pieces)


def streaming(first: bytes, raised: Exception) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        raise raised

    return app


@pytest.mark.parametrize("raised", [RuntimeError("secret"), refuse(503, "the server is going down")])
async def test_a_stream_that_breaks_ends_with_an_error(raised: Exception) -> None:
    response = await post(OpenAIErrors(streaming(b"data: {}\n\n", raised)))
    _, failed, done = events(response.content)
    assert failed["error"]["type"] == "server_error"
    assert "secret" not in response.text
    assert done == "[DONE]"


async def test_a_stream_of_named_events_ends_with_an_error_event() -> None:
    response = await post(OpenAIErrors(streaming(b"event: response.created\ndata: {}\n\n", RuntimeError("secret"))))
    assert b"event: error\n" in response.content
    assert events(response.content)[-1] == {
        "type": "error",
        "sequence_number": 1,
        "code": "internal_error",
        "message": "the server failed to answer; its log says why",
        "param": None,
    }


async def test_a_broken_whole_answer_does_not_look_complete() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await send_all(OpenAIErrors(app), [])


def test_messages_carry_no_payload() -> None:
    message = clean("bad input_value='data:image/png;base64," + "iVBORw0KGgo" * 500 + "' here (parameter=x, value=y)")
    assert message == "bad input_value='data:image/png;base64,...' here"
    assert len(clean("word " * 1000)) == MAX_MESSAGE
    assert "\\u" not in ApiError(status=400, message="Ünïcode 🐈").body().decode()
    assert json.loads(ApiError(status=400, message="lone \ud800").body())
