"""The middleware in front of a small application, called as ASGI, without a server."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx
import pytest

from model.errors import MediaError
from server.errors import MAX_MESSAGE, ApiError, clean
from server.failures import failures
from server.middleware.errors import OpenAIErrors
from server.middleware.routes import AllowedRoutes

Message = MutableMapping[str, Any]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
OTHER = {"type": "image_url", "image_url": {"url": "data:image/png;base64,BB"}}
BODY = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, OTHER]}]}


def application(status: int, body: object, act: Callable[[], None] = lambda: None) -> Any:
    """Reads the request, acts, answers in two pieces."""

    async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]) -> None:
        while (await receive()).get("more_body"):
            pass
        act()
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [(b"content-type", b"text/x"), (b"content-length", str(len(data)).encode()), (b"x-mine", b"1")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": data[:5], "more_body": True})
        await send({"type": "http.response.body", "body": data[5:]})

    return app


async def post(app: Any, path: str = "/v1/chat/completions", body: object = BODY) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, json=body)


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    return dict(response.json()["error"])


async def test_success_passes_untouched() -> None:
    response = await post(OpenAIErrors(application(200, b"data: 1\n\ndata: 2\n\n")))
    assert response.content == b"data: 1\n\ndata: 2\n\n"
    assert response.headers["content-type"] == "text/x"


async def test_streams_are_not_held_back() -> None:
    """Each piece is sent on before the next one is made."""
    sent: list[Message] = []
    seen: list[int] = []

    async def app(scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            seen.append(len(sent))

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    await OpenAIErrors(app)({"type": "http", "method": "GET", "path": "/"}, receive, send)
    assert seen == [2, 3, 4]


async def test_failed_medium_is_named_by_its_place() -> None:
    def fail() -> None:
        record = failures.get()
        assert record is not None
        record["data:image/png;base64,BB"] = MediaError("damaged")

    engine = {
        "error": {"message": "damaged (parameter=messages)", "type": "BadRequestError", "param": None, "code": 400}
    }
    error = error_of(await post(OpenAIErrors(application(400, engine, fail))))
    assert error == {
        "message": "messages[0].content[2]: damaged",
        "type": "invalid_request_error",
        "param": "messages[0].content[2]",
        "code": "invalid_media",
    }
    assert failures.get() is None


async def test_concurrent_requests_keep_their_failures_apart() -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        record = failures.get()
        assert record is not None
        assert record == {}
        record[scope["path"]] = MediaError("x")
        await asyncio.sleep(0)
        assert list(record) == [scope["path"]]
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
        (
            {"message": "the sound lasts, at most 30 s", "param": "image[0]"},
            "messages[0].content[1]",
            "media_too_large",
        ),
        ({"message": "This model's maximum context length is 5 tokens"}, "messages", "context_length_exceeded"),
        ({"message": "no", "param": "body.messages.0.content"}, "messages[0].content", "invalid_request"),
        ({"message": "no", "param": "temperature"}, "temperature", "invalid_request"),
        ({"message": "no", "param": None}, None, "invalid_request"),
        ({"message": "no", "param": "image[7]"}, "image[7]", "invalid_request"),
    ],
)
async def test_parameters_become_paths(given: dict[str, Any], param: str | None, code: str) -> None:
    error = error_of(await post(OpenAIErrors(application(400, {"error": given}))))
    assert (error["param"], error["code"]) == (param, code)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, "authentication_error", "invalid_api_key"),
        (404, "not_found_error", "not_found"),
        (405, "invalid_request_error", "method_not_allowed"),
        (422, "invalid_request_error", "invalid_request"),
        (429, "rate_limit_error", "rate_limit_exceeded"),
        (500, "server_error", "internal_error"),
        (503, "server_error", "unavailable"),
    ],
)
@pytest.mark.parametrize("body", [b"", b"plain text", b"[1]", b'{"detail": "Not Found"}', b'{"error": "text"}'])
async def test_every_status_and_body(status: int, kind: str, code: str, body: bytes) -> None:
    response = await post(OpenAIErrors(application(status, body)))
    assert response.status_code == (400 if status == 422 else status)
    assert response.headers["x-mine"] == "1"
    error = error_of(response)
    assert (error["type"], error["code"], error["param"]) == (kind, code, None)
    assert error["message"]


async def test_exceptions_become_500_without_details(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Message, receive: Any, send: Any) -> None:
        raise RuntimeError("secret path and data")

    response = await post(OpenAIErrors(app))
    assert response.status_code == 500
    assert "secret" not in response.text
    assert error_of(response)["type"] == "server_error"
    assert "secret" in caplog.text


async def test_unlisted_routes_never_reach_the_application() -> None:
    reached: list[str] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        reached.append(scope["path"])
        await application(200, b"ok, fine")(scope, receive, send)

    for path in ("/invocations", "/", "/v1/chat/completions/", "/v1/chat/completions/batch", "/v1/responses/a/b"):
        response = await post(AllowedRoutes(app), path)
        assert response.status_code == 404
        assert error_of(response)["code"] == "not_found"
    assert reached == []
    for path in ("/health", "/v1/models", "/v1/responses/resp_1", "/v1/responses/resp_1/cancel"):
        assert (await post(AllowedRoutes(app), path)).status_code == 200
    assert len(reached) == 4


async def test_lifespan_passes_and_websockets_are_closed() -> None:
    seen: list[str] = []
    sent: list[Message] = []

    async def app(scope: Message, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async def send(message: Message) -> None:
        sent.append(message)

    for kind in ("lifespan", "websocket"):
        await AllowedRoutes(app)({"type": kind, "path": "/v1/realtime"}, None, send)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert sent == [{"type": "websocket.close", "code": 4404}]


def test_messages_carry_no_payload() -> None:
    message = clean("bad input_value='data:image/png;base64," + "iVBORw0KGgo" * 500 + "' here (parameter=x, value=y)")
    assert message == "bad input_value='data:image/png;base64,...' here"
    assert len(clean("word " * 1000)) == MAX_MESSAGE
    assert "\\u" not in ApiError(status=400, message="Ünïcode 🐈").body().decode()
