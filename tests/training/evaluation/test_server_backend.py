"""What is sent to a server and what becomes of its replies: a small server of the API answers by script."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from model.errors import DataError
from training.data import MediaRef, Sample, read_samples
from training.evaluation import remote
from training.evaluation.remote import ServerBackend, ServerError

Answer = tuple[int, dict[str, Any]]


class Script:
    """A server whose answers a test decides."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.busy = self.most = 0
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: (200, completion("red"))
        self.models = ["first", "second"]
        self.lock = threading.Lock()

    def reply(self, body: dict[str, Any]) -> Answer:
        with self.lock:
            self.requests.append(body)
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            return self.answer(body)
        finally:
            with self.lock:
                self.busy -= 1


def completion(text: str, reason: str = "stop", **extra: Any) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    } | extra


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Script, str]]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entries = [{"id": name, "object": "model", "created": 0, "owned_by": ""} for name in script.models]
            self.send(200, {"object": "list", "data": entries})

        def do_POST(self) -> None:
            self.send(*script.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Retry-After", "0.01")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(remote, "RETRIES", 2)
    yield script, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def samples(corpus: Path) -> list[Sample]:
    return [read_samples(corpus / source / "train.jsonl")[0] for source in ("scenes", "tones", "dialogs")]


def backend(url: str, **options: Any) -> ServerBackend:
    return ServerBackend(url, max_tokens=8, **options)


def test_media_are_sent_as_data_and_the_first_model_is_asked(script: tuple[Script, str], samples: list[Sample]) -> None:
    server, url = script
    replies = backend(url).reply(samples[:2], "test")
    assert [[reply.exact for reply in group] for group in replies] == [[True], [False]]
    questions = [body for body in server.requests if "prompt_logprobs" not in body]
    assert {body["model"] for body in questions} == {"first"}
    assert all(body["temperature"] == 0 and body["max_tokens"] == 8 for body in questions)
    parts = {part["type"]: part for body in questions for part in body["messages"][0]["content"]}
    assert parts["image_url"]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert parts["input_audio"]["input_audio"]["format"] == "wav"
    assert all(body["messages"][-1]["role"] == "user" for body in questions)


def test_a_server_that_tells_no_probabilities_is_asked_once(script: tuple[Script, str], samples: list[Sample]) -> None:
    server, url = script
    (first, *_), *_ = backend(url, concurrency=1).reply([samples[0]] * 3, "test")
    assert first.surprise is None
    assert sum("prompt_logprobs" in body for body in server.requests) == 1


def test_probabilities_are_those_after_the_question(script: tuple[Script, str], samples: list[Sample]) -> None:
    server, url = script
    told = [None, {"1": {"logprob": -9}}, {"2": {"logprob": -9}}, {"3": {"logprob": -0.5}}, {"4": {"logprob": -0.25}}]
    server.answer = lambda body: (200, completion("red", prompt_logprobs=told if "prompt_logprobs" in body else None))
    ((reply,),) = backend(url).reply(samples[:1], "test")
    assert (reply.surprise, reply.tokens) == (0.75, 2)
    asked = next(body for body in server.requests if "prompt_logprobs" in body)
    assert asked["messages"][-1] == {"role": "assistant", "content": "red"}
    assert asked["continue_final_message"] is True


def test_what_is_cut_off_is_not_exact(script: tuple[Script, str], samples: list[Sample]) -> None:
    script[0].answer = lambda body: (200, completion("red", reason="length"))
    ((reply,),) = backend(script[1]).reply(samples[:1], "test")
    assert (reply.text, reply.exact) == ("red", False)


def test_a_busy_server_is_asked_again(script: tuple[Script, str], samples: list[Sample]) -> None:
    server, url = script
    server.answer = lambda body: (200, completion("red")) if len(server.requests) > 2 else (429, {"message": "busy"})
    ((reply,),) = backend(url).reply(samples[:1], "test")
    assert reply.exact


def test_a_refused_sample_is_a_wrong_answer_with_its_reason(script: tuple[Script, str], samples: list[Sample]) -> None:
    script[0].answer = lambda body: (400, {"error": {"message": "too many sounds", "code": "x"}})
    ((reply,),) = backend(script[1]).reply(samples[:1], "test")
    assert (reply.exact, reply.text) == (False, "")
    assert reply.failure == "400: too many sounds"


@pytest.mark.parametrize("status", [401, 403, 404, 429])
def test_what_concerns_every_sample_ends_the_evaluation(
    script: tuple[Script, str], samples: list[Sample], status: int
) -> None:
    script[0].answer = lambda body: (status, {"error": {"message": "not you"}})
    with pytest.raises(ServerError, match=f"sample {samples[0].id}: not you"):
        backend(script[1]).reply(samples[:1], "test")


def test_no_server_and_no_model_are_said(script: tuple[Script, str]) -> None:
    with pytest.raises(ServerError, match="is a server running"):
        backend("http://127.0.0.1:9/v1")
    script[0].models = []
    with pytest.raises(ServerError, match="lists no model"):
        backend(script[1])


def test_requests_at_a_time_are_bounded(script: tuple[Script, str], samples: list[Sample]) -> None:
    server, url = script
    together = threading.Barrier(3, timeout=20)

    def answer(body: dict[str, Any]) -> Answer:
        if "prompt_logprobs" not in body:
            together.wait()
        return 200, completion("red")

    server.answer = answer
    backend(url, concurrency=3).reply([samples[0]] * 9, "test")
    assert server.most == 3


def test_features_cannot_be_sent(script: tuple[Script, str], samples: list[Sample], tmp_path: Path) -> None:
    row = Sample(id="row", messages=samples[0].messages, media=[MediaRef("image", tmp_path / "f.safetensors", 0)])
    with pytest.raises(DataError, match=r"sample row: .*holds features; a server takes pictures and sounds"):
        backend(script[1]).reply([row], "test")
