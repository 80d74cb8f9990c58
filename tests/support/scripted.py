"""A server of the playground whose answers a test writes: what no real model says on demand, hostile ones included.

It sends the real page with its real headers and answers the three routes that the page asks as the real server would.
What a test does not script is answered plainly: every count is 40 tokens, every answer is "Yes."
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from server.errors import ApiError
from server.page import page

MEDIA = {
    "image": {"tokens": 4, "max_items": 8, "formats": ["png", "jpeg"], "max_bytes": 1 << 20},
    "audio": {"tokens": 4, "max_items": 8, "formats": ["wav", "ogg"], "max_bytes": 1 << 20, "max_seconds": 30},
}
MODELS = [{"id": name, "object": "model", "context_length": 8192, "media": MEDIA} for name in ("m", "m-other")]
USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 2,
    "total_tokens": 42,
    "prompt_tokens_details": {"text_tokens": 36, "image_tokens": 4, "audio_tokens": 0, "cached_tokens": 16},
}


@dataclass
class Answer:
    """One answer: its pieces, or an error; `gate` is waited for before each piece but the first."""

    pieces: Sequence[str] = ("Yes.",)
    error: ApiError | None = None
    """Instead of an answer, or after the pieces where there are any."""
    gate: threading.Event | None = None
    raw: bytes | None = None
    """The bytes of the whole stream instead."""


@dataclass
class Scripted:
    """What the server says, and what it was asked."""

    url: str = ""
    answers: list[Answer] = field(default_factory=list)
    count_error: ApiError | None = None
    key: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    counted: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    """The `authorization` of every request to the API."""
    left: threading.Event = field(default_factory=threading.Event)
    """Set when a client leaves in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    scripted: Scripted
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/":
            found = page()
            self._send(200, found.body, "text/html; charset=utf-8", found.headers)
        elif self.path == "/v1/models" and self._admitted():
            self._send(200, json.dumps({"object": "list", "data": MODELS}).encode())
        elif self.path != "/v1/models":
            self._send(404, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._admitted():
            return
        if self.path.endswith("/tokens"):
            self.scripted.counted.append(body)
            if self.scripted.count_error:
                self._refuse(self.scripted.count_error)
                return
            details = {"text_tokens": 36, "image_tokens": 4}
            counted = {"prompt_tokens": 40, "prompt_tokens_details": details, "max_completion_tokens": 8152}
            self._send(200, json.dumps(counted).encode())
            return
        self.scripted.asked.append(body)
        self._answer(self.scripted.answers.pop(0) if self.scripted.answers else Answer(), body.get("stream"))

    def _admitted(self) -> bool:
        given = self.headers["authorization"]
        self.scripted.keys.append(given)
        if self.scripted.key is None or given == f"Bearer {self.scripted.key}":
            return True
        self._refuse(ApiError(status=401, message="this API key is not known"))
        return False

    def _answer(self, scripted: Answer, streams: bool | None) -> None:
        if scripted.error and not scripted.pieces:
            self._refuse(scripted.error)
            return
        if not streams:
            message = {"role": "assistant", "content": "".join(scripted.pieces)}
            self._send(200, json.dumps({"choices": [{"message": message}], "usage": USAGE}).encode())
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        try:
            self._stream(scripted)
        except OSError:
            self.scripted.left.set()
        self.close_connection = True

    def _stream(self, scripted: Answer) -> None:
        if scripted.raw is not None:
            # Byte by byte: characters and events are cut everywhere.
            for index in range(len(scripted.raw)):
                self.wfile.write(scripted.raw[index : index + 1])
                self.wfile.flush()
            return
        for index, piece in enumerate(scripted.pieces):
            if scripted.gate and index:
                while not scripted.gate.wait(0.05):
                    self._event(": waiting")  # a comment, so that a client that left is noticed
                scripted.gate.clear()
            self._event({"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]})
        if scripted.error:
            self._event(json.loads(scripted.error.body()))
        else:
            self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            self._event({"choices": [], "usage": USAGE})
        self._event("data: [DONE]")

    def _event(self, value: object) -> None:
        line = value if isinstance(value, str) else f"data: {json.dumps(value)}"
        self.wfile.write(f"{line}\n\n".encode())
        self.wfile.flush()

    def _refuse(self, error: ApiError) -> None:
        self._send(error.status, error.body())

    def _send(self, status: int, body: bytes, kind: str = "application/json", headers: Any = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    """The server, on a free loopback port."""
    scripted = Scripted()
    handler = type("Handler", (_Handler,), {"scripted": scripted})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    scripted.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield scripted
    server.shutdown()
    server.server_close()
    thread.join()
