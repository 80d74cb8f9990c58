"""What each of our middlewares costs: CPU time of a request through it, without a network and without an engine.

    python benchmarks/middleware.py [--pieces 32]

The application behind them reads a small body and streams an answer in so many pieces. It is called with and without by
turns, and the best of many rounds counts, so that what else the machine does matters little. The last lines are what
reading a request's JSON costs, by its size.
"""

import argparse
import asyncio
import base64
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from server.asgi import App, Message, Receive, Scope, Send
from server.requests import read
from server.settings import MIDDLEWARE

ROUNDS, CALLS = 12, 50
PIECE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"content":"a"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
)
COUNTS = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
    b'{"prompt_tokens":30,"total_tokens":62,"completion_tokens":32,"prompt_tokens_details":{"cached_tokens":0}}}\n\n'
)


def streaming(pieces: int) -> App:
    """An application that streams an answer as vLLM does."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for body in (*[PIECE] * pieces, COUNTS):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})

    return app


def wrapped(app: App, names: list[str]) -> App:
    """The application inside these middlewares, the first of them innermost."""
    for name in names:
        module, _, cls = name.rpartition(".")
        app = getattr(importlib.import_module(module), cls)(app)
    return app


def chat(kilobytes: int = 0) -> bytes:
    """The body of a chat completion, with a picture of so many kilobytes."""
    url = "data:image/jpeg;base64," + base64.b64encode(os.urandom(kilobytes << 10)).decode()
    picture = [{"type": "image_url", "image_url": {"url": url}}] if kilobytes else []
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": [*picture, {"type": "text", "text": "a"}]}]}
    ).encode()


async def request(app: App, body: bytes) -> None:
    """One request to an application; what it sends goes nowhere."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await asyncio.Future()

    async def send(message: Message) -> None:
        pass

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"host", b"a")]
    path = "/v1/chat/completions"
    scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": headers, "state": {}}
    await app(scope, receive, send)


async def best(*calls: Callable[[], Awaitable[Any]], repeat: int = CALLS) -> list[float]:
    """CPU time of each call in a task of its own, microseconds; the calls by turns, each one's best round."""
    found = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for index, call in enumerate(calls):
            begun = time.process_time()
            for _ in range(repeat):
                await asyncio.ensure_future(call())
            found[index] = min(found[index], (time.process_time() - begun) / repeat * 1e6)
    return found


async def measure(pieces: int) -> None:
    """Print a line for each middleware, for all, and for each size of a body."""
    app, body = streaming(pieces), chat()
    every = list(MIDDLEWARE)
    for label, names in [*((name.rpartition(".")[2], [name]) for name in every), ("all", every)]:
        inside = wrapped(app, names)
        alone, taken = await best(lambda: request(app, body), partial(request, inside, body))
        print(f"{label:<16} {taken - alone:7.0f} us")
    for kilobytes in (0, 100, 800):
        data = chat(kilobytes)

        async def whole(data: bytes = data) -> bytes:
            return data

        raw: Any = SimpleNamespace(headers={"content-type": "application/json"}, body=whole)
        (taken,) = await best(partial(read, raw), repeat=20)
        print(f"JSON, {kilobytes:>3} KB    {taken:7.0f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pieces", type=int, default=32, help="pieces of the answer")
    asyncio.run(measure(parser.parse_args().pieces))
