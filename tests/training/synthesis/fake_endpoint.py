"""A FAKE language model behind the real OpenAI wire format, for tests only.

No model that can follow the instructions runs in the tests, so this one writes a plain dialog from the notes that it is
sent, over real HTTP. A test may give other behaviours: each is a function of the request's number and its decoded body
that gives a status, headers and a body, or None for the plain dialog.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Reply(NamedTuple):
    """What goes over the wire."""

    status: int
    body: Any
    headers: dict[str, str] = {}


Behaviour = Callable[[int, dict[str, Any]], Reply | None]


def completion(content: str | None, finish_reason: str = "stop", refusal: str | None = None) -> Reply:
    """A chat completion."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return Reply(
        200,
        {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 0,
            "model": "fake",
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": None}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        },
    )


def error(status: int, message: str, **headers: str) -> Reply:
    """An error as the API spells it."""
    body = {"error": {"message": message, "type": "fake_error", "param": None, "code": None}}
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def notes(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The media with their notes, as the instruction's user message has them."""
    found: list[dict[str, Any]] = json.loads(body["messages"][1]["content"])["media"]
    return found


def written(body: dict[str, Any]) -> dict[str, Any]:
    """A plain dialog over all media: what each shows, then what the first one was."""
    places = ("first", "second", "third", "fourth", "fifth")
    turns = []
    for medium in notes(body):
        modality, place = medium["name"].split()
        noun = f"the {places[int(place) - 1]} {'picture' if modality == 'image' else 'sound'}"
        known = [*medium.get("captions", []), *medium.get("spoken", []), *medium.get("names", [])]
        known += [each["answer"] for each in medium.get("questions", [])]
        answer = f"In {noun} there is this: {'; '.join(known[:2])}, as far as one can make out at once."
        turns.append({"media": [medium["name"]], "question": f"What is in {noun}?", "answer": answer})
    if "a single turn" not in body["messages"][0]["content"]:
        answer = "That was " + turns[0]["answer"][0].lower() + turns[0]["answer"][1:]
        turns.append({"media": [], "question": "What came first, and what is it like?", "answer": answer})
    return {"turns": turns}


class FakeEndpoint:
    """The server; a context manager. `url` is what `--base-url` takes."""

    def __init__(self, behaviour: Behaviour | None = None, delay: float = 0.0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._behaviour = behaviour
        self._delay = delay
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = endpoint.reply(self.path, self.headers.get("Authorization", ""), body)
                data = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def reply(self, path: str, authorization: str, body: dict[str, Any]) -> Reply:
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.keys.add(authorization)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
        try:
            time.sleep(self._delay)
            if path != "/v1/chat/completions":
                return error(404, f"no such route {path}")
            reply = self._behaviour(number, body) if self._behaviour else None
            return reply or completion(json.dumps(written(body)))
        finally:
            with self._lock:
                self._now -= 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
