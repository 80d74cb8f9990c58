"""More connections than there may be, silent or dripping: others are answered as before, and all of them end."""

import json
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.metrics import Scrape
from tests.support.serving import HEAD_TIMEOUT, MAX_CONNECTIONS, ServerProcess

SILENT = MAX_CONNECTIONS + 100
DRIPPING = 20
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n"


@pytest.fixture
def crowd(server: ServerProcess) -> Iterator[list[socket.socket]]:
    """Connections; the last ones send a byte of a header now and then."""
    ended = threading.Event()
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            for _ in range(SILENT + DRIPPING)
        ]

        def drip() -> None:
            dripping = connections[SILENT:]
            for connection in dripping:
                connection.sendall(HEAD)
            while dripping and not ended.wait(0.3):
                for connection in tuple(dripping):
                    try:
                        connection.sendall(b"x")
                    except OSError:
                        dripping.remove(connection)

        sender = threading.Thread(target=drip)
        sender.start()
        yield connections
        ended.set()
        sender.join(60)


def test_slow_and_silent_connections_hurt_nobody(server: ServerProcess, crowd: list[socket.socket]) -> None:
    before = Scrape.of_server(server.url)
    for _ in range(5):
        response = server.chat([{"role": "user", "content": "Say something."}])
        assert response.status_code == 200
    assert Scrape.of_server(server.url).total("quartet_connections") <= MAX_CONNECTIONS + 2
    answers = []
    for connection in crowd:
        readable, _, _ = select.select([connection], [], [], 10 * HEAD_TIMEOUT)
        assert readable, "still open"
        try:
            answers.append(connection.recv(65536))
        except ConnectionResetError:
            answers.append(b"")
    assert set(answers[:SILENT]) == {b""}
    told = [answer.partition(b"\r\n\r\n") for answer in answers[SILENT:] if answer]
    # Some of them may have been pushed out without a word.
    assert told
    for head, _, body in told:
        assert head.startswith(b"HTTP/1.1 408 ")
        assert json.loads(body)["error"]["code"] == "timeout"
    added = Scrape.of_server(server.url) - before
    assert added.total("quartet_connections_closed_total", reason="head_timeout") >= MAX_CONNECTIONS / 2
