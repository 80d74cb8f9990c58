"""Warm-up: one small request of each kind is answered before `/ready` says so; no user's is the slow first one.

What a process does only once (loading decoders and resamplers, compiling kernels, reserving memory) is done here. The
requests take the way of any other, from the route to the engine and back; only who may call and how often is not asked.
They cannot be met in a cache afterwards: their media are random and their prompts salted.
"""

import asyncio
import base64
import io
import json
import logging
import secrets
import time
import wave
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from server.asgi import App, Message, Receive, Scope, Send
from server.errors import RefusedError
from server.exchange import Exchange, begin
from server.life.end import WARM_UP_FAILED, end_with
from server.settings import current

logger = logging.getLogger("server.life")

PATH = "/v1/chat/completions"
# What the ids of the requests begin with, in every log.
NAME = "warm-up"
# Two, so that the step after the prompt's is taken as well.
TOKENS = 2
SIDE = 32
# Not the rate of any encoder, so that the resampler is loaded too.
RATE = 8_000
SECONDS = 0.25


class WarmUp:
    """Stands innermost, behind keys and limits; sends its requests once the application has started."""

    def __init__(self, app: App, enabled: bool | None = None) -> None:
        self.app = app
        self.enabled = current().warm_up if enabled is None else enabled
        self.task: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""
        if scope["type"] != "lifespan" or not self.enabled:
            await self.app(scope, receive, send)
            return

        async def started(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                scope["app"].state.quartet_warming = True
                self.task = asyncio.get_running_loop().create_task(self._warm(scope["app"]))
            await send(message)

        try:
            await self.app(scope, receive, started)
        finally:
            if self.task is not None:
                self.task.cancel()

    async def _warm(self, application: Any) -> None:
        state = application.state
        begun = time.perf_counter()
        asked = 0
        try:
            for kind, body in requests(modalities(state)):
                status, answer = await self._ask(application, f"{NAME}-{kind}", body)
                if status >= 500:
                    raise RuntimeError(f"{kind}: answered with {status}: {_message(answer)}")
                if status != 200:
                    # Users would be told the same, so this is how the server was set up, not a failure.
                    logger.warning("warm-up with %s was refused with %d: %s", kind, status, _message(answer))
                asked += 1
        except Exception:
            logger.exception("the warm-up failed, so no user could be answered; the server ends")
            end_with(WARM_UP_FAILED)
            state.server.should_exit = True
            return
        state.quartet_warming = False
        logger.info("warm: %d requests answered in %.1f s", asked, time.perf_counter() - begun)

    async def _ask(self, application: Any, name: str, body: bytes) -> tuple[int, bytes]:
        """Send one request to what is inside; its status and answer."""
        begin(Exchange(request_id=name))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", name.encode()),
        ]
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": None,
            "server": None,
            "state": {},
            "app": application,
        }
        status, answer = 500, b""
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                # Whoever waits for the client to leave waits in vain.
                await asyncio.Event().wait()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, answer
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                answer += message.get("body", b"")

        try:
            await self.app(scope, receive, send)
        except RefusedError as refused:
            return refused.error.status, refused.error.body()
        return status, answer


def modalities(state: Any) -> list[str]:
    """What the served model takes beside text and a conversation may hold."""
    config = state.vllm_config.model_config
    limit = config.get_multimodal_config().get_limit_per_prompt
    return [name for name in config.hf_config.modality_specs if name in MEDIA and limit(name)]


def requests(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """What to ask, by kind: text and each modality, first without and then with log-probabilities."""
    for name in ("text", *names):
        part = MEDIA[name]() if name in MEDIA else {"type": "text", "text": "Hello"}
        body = {
            "messages": [{"role": "user", "content": [part]}],
            "max_tokens": TOKENS,
            "temperature": 0,
            "ignore_eos": True,
            "cache_salt": secrets.token_hex(16),
        }
        yield name, json.dumps(body).encode()
        yield f"{name}-logprobs", json.dumps(body | {"logprobs": True, "top_logprobs": 1}).encode()


def _picture() -> dict[str, Any]:
    noise = Image.frombytes("RGB", (SIDE, SIDE), secrets.token_bytes(SIDE * SIDE * 3))
    file = io.BytesIO()
    noise.save(file, "PNG")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_base64(file)}"}}


def _sound() -> dict[str, Any]:
    file = io.BytesIO()
    with wave.open(file, "wb") as noise:
        noise.setnchannels(1)
        noise.setsampwidth(2)
        noise.setframerate(RATE)
        noise.writeframes(secrets.token_bytes(2 * int(RATE * SECONDS)))
    return {"type": "input_audio", "input_audio": {"data": _base64(file), "format": "wav"}}


def _base64(file: io.BytesIO) -> str:
    return base64.b64encode(file.getvalue()).decode()


def _message(answer: bytes) -> str:
    """The reason in an error's body."""
    try:
        error = json.loads(answer)
        return str(error.get("error", error).get("message", ""))[:300]
    except (ValueError, AttributeError):
        return "no reason given"


MEDIA: dict[str, Callable[[], dict[str, Any]]] = {"image": _picture, "audio": _sound}
