"""One line for every request, with numbers and names, and nothing that a client wrote."""

import json
import logging
from collections.abc import Iterator

import pytest

from server.asgi import App, Receive, Scope, Send
from server.content import Part
from server.errors import refuse
from server.exchange import current_exchange
from server.keys.key import Key, hashed
from server.logs import access
from server.logs.lines import JsonLines
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcomes
from tests.support.asgi import application, post

SECRET = "top-secret-words"


@pytest.fixture
def lines() -> Iterator[list[dict[str, object]]]:
    """The lines that are written, parsed."""
    written: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(json.loads(JsonLines().format(record)))

    keeper, logger = Keep(), logging.getLogger("server")
    level = logger.level
    logger.addHandler(keeper)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(keeper)
    logger.setLevel(level)


def logged(app: App) -> App:
    return RequestHeaders(Outcomes(OpenAIErrors(app), [access.write]))


async def test_a_request_and_what_it_cost(lines: list[dict[str, object]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        exchange = current_exchange()
        exchange.key = Key(name="alice", hash=hashed("x" * 30))
        exchange.parts = [Part("messages[0].content[0]"), Part("messages[0].content[1]", "image", "data:,")]
        exchange.prompt_tokens, exchange.completion_tokens, exchange.media_bytes = 20, 5, 1234
        exchange.media_tokens = {"image": 4, "audio": 0}
        await application(200, b"0123456789")(scope, receive, send)

    await post(logged(app), body=b'{"a": "b"}', x_request_id="mine-1")
    (line,) = lines
    assert isinstance(line.pop("seconds"), float)
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "server.access",
        "process": "MainProcess",
        "message": "request",
        "request_id": "mine-1",
        "trace_id": None,
        "key": "alice",
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "error": None,
        "client_left": False,
        "first_byte_seconds": None,
        "prompt_tokens": 20,
        "completion_tokens": 5,
        "image_tokens": 4,
        "audio_tokens": 0,
        "media": 1,
        "media_bytes": 1234,
        "received_bytes": 10,
        "sent_bytes": 10,
    }


async def test_levels_and_codes(lines: list[dict[str, object]]) -> None:
    for status, code in ((400, "invalid_media"), (503, "server_overloaded"), (500, None)):

        async def app(
            scope: Scope, receive: Receive, send: Send, status: int = status, code: str | None = code
        ) -> None:
            raise refuse(status, SECRET, code=code)

        await post(logged(app))
    assert [(line["level"], line["status"], line["error"]) for line in lines] == [
        ("info", 400, "invalid_media"),
        ("warning", 503, "server_overloaded"),
        ("error", 500, "internal_error"),
    ]


async def test_probes_are_written_only_when_they_fail(lines: list[dict[str, object]]) -> None:
    for status in (200, 503):
        await post(logged(application(status)), "/ready")
    assert [line["status"] for line in lines] == [503]


async def test_nothing_a_client_wrote(lines: list[dict[str, object]]) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ValueError(SECRET)

    headers = {"authorization": f"Bearer {SECRET}", "x_request_id": f"bad id {SECRET}", "user_agent": SECRET}
    await post(logged(app), f"/v1/models/{SECRET}?q={SECRET}", {"messages": SECRET}, **headers)
    assert [line["message"] for line in lines] == ["POST /v1/models/{model} failed", "request"]
    assert SECRET not in json.dumps(lines)
    assert "ValueError" in str(lines[0]["exception"])
