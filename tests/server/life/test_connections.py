"""Connections under uvicorn's two HTTP implementations, with raw sockets: slow heads, silence, crowds, no reading."""

import asyncio
import json
import logging
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn

from server.asgi import Message, Receive, Scope, Send
from server.life.connections import ENDINGS, Connections, bound
from server.settings import ServerSettings
from tests.support.asgi import application
from tests.support.listening import listening
from tests.support.metrics import Scrape

HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n"
WHOLE = HEAD + b"\r\n"
# Far above what a busy machine needs for a request of its own.
PATIENT = 60.0


@dataclass(frozen=True, kw_only=True)
class Given:
    max_connections: int = 1000
    head_timeout: float = PATIENT
    idle_timeout: int = 60
    send_timeout: float = PATIENT


@pytest.fixture(params=["h11", "httptools"])
def serve(request: pytest.FixtureRequest) -> Callable[..., Any]:
    @contextmanager
    def start(app: Any = None, **values: Any) -> Iterator[int]:
        with listening(
            app or application(200, b"fine, thanks"),
            prepare=lambda config: bound(config, Given(**values)),
            http=request.param,
        ) as port:
            yield port

    return start


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def answered(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/", timeout=60, verify=False).text == "fine, thanks"


def error_in(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert b"connection: close" in head
    assert b"content-length: %d" % len(body) in head
    return dict(json.loads(body)["error"])


def drip(connection: socket.socket, until: threading.Event) -> None:
    """Send header bytes one at a time for as long as the server lets us."""
    try:
        connection.sendall(HEAD)
        while not until.wait(0.05):
            connection.sendall(b"x")
    except OSError:
        pass


def test_a_head_that_comes_byte_by_byte(serve: Callable[..., Any]) -> None:
    before, until = Scrape.of_process(), threading.Event()
    with serve(head_timeout=0.5) as port:
        begun = time.monotonic()  # the server may count from here on: it sees a connection before its first byte
        slow = connect(port)
        sender = threading.Thread(target=drip, args=(slow, until))
        sender.start()
        assert answered(port)
        error = error_in(everything(slow), 408)
        assert time.monotonic() - begun >= 0.5
        until.set()
        sender.join()
        slow.close()
        assert answered(port)
    assert (error["type"], error["code"]) == ("timeout_error", "timeout")
    assert (Scrape.of_process() - before).total("quartet_connections_closed_total", reason="head_timeout") == 1


def test_a_connection_that_says_nothing_is_closed_without_a_word(serve: Callable[..., Any]) -> None:
    with serve(head_timeout=0.3) as port:
        begun = time.monotonic()
        with connect(port) as silent:
            assert everything(silent) == b""
        assert time.monotonic() - begun >= 0.3


def test_the_head_of_a_further_request_is_timed_as_well(serve: Callable[..., Any]) -> None:
    until = threading.Event()
    with serve(head_timeout=0.5) as port, connect(port) as slow:
        slow.sendall(WHOLE)
        assert slow.recv(65536).endswith(b"thanks") or slow.recv(65536).endswith(b"thanks")
        time.sleep(0.7)  # between two requests another time counts
        sender = threading.Thread(target=drip, args=(slow, until))
        sender.start()
        error_in(everything(slow), 408)
        until.set()
        sender.join()


def test_a_pause_between_requests(serve: Callable[..., Any]) -> None:
    with serve(idle_timeout=1) as port, connect(port) as idle:
        begun = time.monotonic()
        idle.sendall(WHOLE)
        assert b"408" not in everything(idle)
        assert 1 <= time.monotonic() - begun < PATIENT


def test_slow_answers_and_slow_bodies_are_not_the_heads_matter(serve: Callable[..., Any]) -> None:
    async def slowly(scope: Scope, receive: Receive, send: Send) -> None:
        received = b""
        while True:
            message = await receive()
            received += message.get("body", b"")
            if not message.get("more_body"):
                break
        await asyncio.sleep(0.6)
        await application(200, {"got": len(received)})(scope, receive_nothing, send)

    async def receive_nothing() -> Message:
        return {"type": "http.request"}

    with serve(slowly, head_timeout=0.3) as port, connect(port) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        for _ in range(4):
            time.sleep(0.2)
            slow.sendall(b"x")
        received = b""
        while b'{"got": 4}' not in received:
            piece = slow.recv(65536)
            assert piece, received
            received += piece


def test_a_crowd_of_silent_connections_pushes_out_its_own(serve: Callable[..., Any]) -> None:
    before = Scrape.of_process()
    with ExitStack() as stack, serve(max_connections=10) as port:
        crowd = [stack.enter_context(connect(port)) for _ in range(50)]
        for connection in crowd:
            connection.sendall(b"GET")
        for _ in range(3):
            assert answered(port)
        # Those that came first are gone, the last ones still there.
        for connection in crowd[:40]:
            assert everything(connection) == b""
        crowd[-1].sendall(WHOLE.removeprefix(b"GET"))
        assert crowd[-1].recv(65536).startswith(b"HTTP/1.1 200")
        assert Scrape.of_process().total("quartet_connections") <= 11
    assert (Scrape.of_process() - before).total("quartet_connections_closed_total", reason="displaced") >= 40


def test_where_all_connections_are_at_work_a_further_one_is_refused(serve: Callable[..., Any]) -> None:
    let = threading.Event()
    begun: list[int] = []

    async def works(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(1)
        while not let.is_set():
            await asyncio.sleep(0.02)
        await application(200, b"fine, thanks")(scope, receive, send)

    with ExitStack() as stack, serve(works, max_connections=3) as port:
        at_work = [stack.enter_context(connect(port)) for _ in range(3)]
        for connection in at_work:
            connection.sendall(WHOLE)
        while len(begun) < 3:
            time.sleep(0.02)
        answer = everything(stack.enter_context(connect(port)))
        error = error_in(answer, 503)
        assert error["code"] == "unavailable"
        assert b"\r\nretry-after: 1\r\n" in answer
        let.set()
        for connection in at_work:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [30_000_000, 6_000_000])
def test_a_client_that_does_not_read(serve: Callable[..., Any], size: int) -> None:
    """Neither while the answer is made, nor when it is complete and only the rest must be read."""
    ended = threading.Event()

    async def writes(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        pieces = 100 if size > 10_000_000 else 1
        for index in range(pieces):
            await send({"type": "http.response.body", "body": bytes(size // pieces), "more_body": index < pieces - 1})
        ended.set()

    before = Scrape.of_process()
    with serve(writes, send_timeout=0.5) as port, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(WHOLE)
        # The application is not held up, and the connection is gone.
        assert ended.wait(30)
        deadline = time.monotonic() + 30
        while Scrape.of_process().total("quartet_connections") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert Scrape.of_process().total("quartet_connections") == 0
    assert (Scrape.of_process() - before).total("quartet_connections_closed_total", reason="send_timeout") == 1


def test_pipelined_requests_are_all_answered(serve: Callable[..., Any]) -> None:
    with serve(head_timeout=1.0) as port, connect(port) as client:
        client.sendall(WHOLE * 3)
        received = b""
        while received.count(b"fine, thanks") < 3:
            piece = client.recv(65536)
            assert piece, received
            received += piece


async def test_the_bounds_are_put_in_place_when_the_server_starts() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    config = uvicorn.Config(app, http="h11")
    config.load()
    plain = config.http_protocol_class
    state = SimpleNamespace(server=SimpleNamespace(config=config))
    middleware = Connections(app, Given(idle_timeout=7))
    for kind in ("http", "lifespan"):
        await middleware({"type": kind, "app": SimpleNamespace(state=state)}, None, None)  # type: ignore[arg-type]
        assert (config.http_protocol_class is plain) == (kind == "http")
    assert seen == ["http", "lifespan"]
    assert issubclass(config.http_protocol_class, plain)  # type: ignore[arg-type]
    assert config.timeout_keep_alive == 7


def test_too_few_files_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1024, 4096))
    with caplog.at_level(logging.WARNING, logger="server.life"):
        for most in (500, 4096):
            assert caplog.messages == []
            config = uvicorn.Config(application())
            config.load()
            bound(config, Given(max_connections=most))
    (message,) = caplog.messages
    assert "max_connections is 4096, but this process may open 1024 files" in message


def test_defaults() -> None:
    settings = ServerSettings()
    # A request that waits for its turn holds a connection.
    assert settings.max_connections > settings.max_running + settings.max_waiting
    assert set(ENDINGS) == {"head_timeout", "send_timeout", "displaced", "refused"}
