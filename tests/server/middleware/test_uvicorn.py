"""The middleware under a real HTTP server, with raw connections: sizes, pace, ids and clients that leave."""

import json
import logging
import socket
import time
from collections.abc import Iterator

import pytest
from starlette.requests import Request

from server.asgi import Message, Receive, Scope, Send
from server.middleware.body import BodyLimits
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from tests.support.asgi import application
from tests.support.listening import listening

LIMIT, TIMEOUT = 200_000, 0.5
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"


async def counts(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body."""
    body = await Request(scope, receive).body()

    async def read() -> Message:
        return {"type": "http.request"}

    await application(200, {"bytes": len(body)})(scope, read, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    app = RequestHeaders(BodyLimits(OpenAIErrors(counts), LIMIT, TIMEOUT))
    with listening(app) as chosen:
        yield chosen


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def refused(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"connection: close" in head.lower()
    assert b"x-request-id: " in head
    assert json.loads(body)["error"]["code"] == code


def test_a_declared_length_is_refused_before_the_body_comes(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % (LIMIT + 1))
        refused(everything(connection), 413, "request_too_large")


def test_a_body_in_pieces_is_refused_when_it_passes_the_limit(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(
            HEAD + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % (LIMIT + 1) + b"x" * (LIMIT + 1) + b"\r\n"
        )
        refused(everything(connection), 413, "request_too_large")


def test_a_body_that_does_not_come(port: int) -> None:
    begun = time.monotonic()
    with connect(port) as connection:
        connection.sendall(HEAD + b"content-length: 10\r\n\r\nabc")
        refused(everything(connection), 408, "timeout")
    assert time.monotonic() - begun >= TIMEOUT


def test_the_largest_body_passes_and_the_connection_stays(port: int) -> None:
    with connect(port) as connection:
        for size in (LIMIT, 0, 5):
            connection.sendall(
                HEAD + b"x-request-id: mine-%d\r\ncontent-length: %d\r\n\r\n" % (size, size) + b"x" * size
            )
            answer = b""
            while b"}" not in answer:
                piece = connection.recv(65536)
                assert piece
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"x-request-id: mine-%d\r\n" % size in answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"bytes": size}


def test_a_client_that_leaves_is_no_error(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        with connect(port) as connection:
            connection.sendall(HEAD + b"content-length: 10\r\n\r\nabc")
        time.sleep(0.2)
    assert caplog.text == ""
    test_the_largest_body_passes_and_the_connection_stays(port)
