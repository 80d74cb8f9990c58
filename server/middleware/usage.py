"""Token counts as OpenAI's clients know them: `text_tokens`, `image_tokens`, `audio_tokens`, `cached_tokens`.

The engine counts media of a chat in a field of its own and those of the Responses API not at all. This middleware
replaces the one small object that holds the counts, in whole answers and in the chunk of a stream that carries it;
everything else passes as the bytes it is. A key with a bare quote after it cannot be inside a JSON string, so what is
found is never something that the model wrote.
"""

import json
from collections.abc import Awaitable
from typing import Any

from server.asgi import HELD, App, Message, Receive, Scope, Send, header
from server.exchange import Exchange, current_exchange
from server.prompts import token_details

PATHS = frozenset(("/v1/chat/completions", "/v1/completions", "/v1/responses"))
_KEY = b'"usage":{'
# Longer than any object of counts.
_LONGEST = 8192
_decoder = json.JSONDecoder()


class OpenAIUsage:
    """Rewrites `usage` in answers with status 200 of the routes that generate."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and rewrite."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in PATHS:
            send = _Answer(current_exchange(), send).send
        await self.app(scope, receive, send)


class _Answer:
    """One answer; a whole one is held back until its only piece is there, because its length changes."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send
        self._held: Message | None = None
        self._rewrites = False

    def send(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            kind = header(message.get("headers", ()), b"content-type")
            if message["status"] == 200 and kind.startswith(b"application/json"):
                self._held = message
                return HELD
            self._rewrites = message["status"] == 200 and kind.startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            if self._held is not None:
                return self._release(message)
            if self._rewrites:
                body = message.get("body", b"")
                if _KEY in body:
                    message = {**message, "body": rewrite(body, self._exchange)}
        return self._send(message)

    async def _release(self, message: Message) -> None:
        start, self._held = self._held, None
        assert start is not None
        if not message.get("more_body", False):
            body = rewrite(message.get("body", b""), self._exchange)
            others = [(key, value) for key, value in start["headers"] if key.lower() != b"content-length"]
            start = {**start, "headers": [*others, (b"content-length", str(len(body)).encode())]}
            message = {**message, "body": body}
        await self._send(start)
        await self._send(message)


def rewrite(body: bytes, exchange: Exchange) -> bytes:
    """`body` with its counts in OpenAI's form; the same bytes where there are none."""
    place = body.rfind(_KEY)
    if place < 0:
        return body
    place += len(_KEY) - 1
    try:
        counts, length = _decoder.raw_decode(body[place : place + _LONGEST].decode("latin-1"))
    except ValueError:
        return body
    detailed = json.dumps(openai_usage(counts, exchange), separators=(",", ":")).encode()
    return body[:place] + detailed + body[place + length :]


def openai_usage(counts: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """The engine's counts, with the prompt's details under OpenAI's names."""
    key = "prompt_tokens" if "prompt_tokens" in counts else "input_tokens"
    given = dict(counts.get(f"{key}_details") or {})
    # The engine counts a chat's media itself; one prompt may enter it several times, as in a beam search.
    media = dict(exchange.media_tokens)
    if key == "prompt_tokens":
        media = dict.fromkeys(media, 0) | (given.pop("multimodal_tokens", None) or {})
    written = given.pop("created_cache_tokens", None)
    if written is not None:
        given["cache_write_tokens"] = written
    given["cached_tokens"] = given.get("cached_tokens") or 0
    return {**counts, f"{key}_details": given | token_details(counts.get(key, 0), media)}
