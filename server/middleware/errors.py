"""Every error in OpenAI's shape, naming the offending part of the request; also one in the middle of a stream.

The engine reports errors in its own words and knows nothing of paths; the routes left in the exchange what the request
held. Successes pass at once, piece by piece.
"""

import json
import logging
import re
from collections.abc import Awaitable, Mapping
from typing import Any

from starlette.requests import ClientDisconnect

from model.errors import MediaError, MediaLimitError
from server.asgi import HELD, App, Message, Receive, Scope, Send, answer, header
from server.content import Part, nth
from server.errors import ApiError, RefusedError
from server.exchange import Exchange, current_exchange
from server.middleware.routes import template

logger = logging.getLogger("server.errors")

_NTH_MEDIUM = re.compile(r"([a-z]+)\[(\d+)\]")
_CONTEXT = re.compile(
    r"maximum (?:context|model|input) length|maximum number of .*tokens|longer than the maximum", re.IGNORECASE
)
# How the engine begins a piece of a stream that holds an error.
_STREAMED = b'data: {"error"'
_FAILED = ApiError(status=500, message="the server failed to answer; its log says why")


class OpenAIErrors:
    """Rewrites answers with status 400 and above; answers what was raised."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and rewrite the answer if it is an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reply = _Reply(current_exchange(), send)
        try:
            await self.app(scope, receive, reply.send)
        except ClientDisconnect:
            return  # nobody is there to be answered
        except RefusedError as refused:
            await reply.fail(refused.error)
        except Exception:
            # The type and traceback are for the operator, not for the client.
            logger.exception("%s %s failed", scope["method"], template(scope["path"]))
            await reply.fail(_FAILED)


class _Reply:
    """One answer on its way to the client."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send
        self._started = self._streams = self._ended = False
        self._named_events = 0
        self._error_start: Message | None = None
        self._error_body: list[bytes] = []

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a success on at once; hold an error back until it is complete."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._error_start = message
                return HELD
            self._started = True
            self._streams = header(message.get("headers", ()), b"content-type").startswith(b"text/event-stream")
        elif message["type"] == "http.response.body":
            if self._error_start is not None:
                self._error_body.append(message.get("body", b""))
                return HELD if message.get("more_body", False) else self._explain()
            self._ended = not message.get("more_body", False)
            if self._streams:
                body = message.get("body", b"")
                self._named_events += body.startswith(b"event:")
                if body.startswith(_STREAMED):
                    message = {**message, "body": self._streamed(body)}
        return self._send(message)

    async def fail(self, error: ApiError) -> None:
        """Answer with an error, or end the stream that has begun with one.

        Raises:
            RuntimeError: an answer that is no stream has begun; its connection must break, or it would look complete.
        """
        if not self._started:
            self._started = True
            await answer(self._send, error)
        elif self._streams and not self._ended:
            await self._send({"type": "http.response.body", "body": self._event(error)})
        else:
            self._exchange.error_code = error.content["code"]
            raise RuntimeError("the answer had begun when it failed")

    async def _explain(self) -> None:
        assert self._error_start is not None
        given = _mapping(b"".join(self._error_body))
        # FastAPI answers {"detail": ...} where vLLM answers {"error": {...}}.
        error = given.get("error", given)
        error = error if isinstance(error, dict) else {"message": str(error)}
        self._started = True
        explained = explain(self._error_start["status"], error, self._exchange)
        await answer(self._send, explained, self._error_start.get("headers", ()))

    def _streamed(self, body: bytes) -> bytes:
        """A piece of a stream whose first event is an error; what follows it stays."""
        event, separator, rest = body.partition(b"\n\n")
        error = _mapping(event.removeprefix(b"data: ")).get("error")
        if not isinstance(error, dict):
            return body
        code = error.get("code")
        explained = explain(code if isinstance(code, int) else 500, error, self._exchange)
        self._exchange.error_code = explained.content["code"]
        return b"data: " + explained.body() + separator + rest

    def _event(self, error: ApiError) -> bytes:
        """The last event of a stream that failed, as its readers expect it."""
        self._exchange.error_code = error.content["code"]
        if self._named_events == 0:
            return b"data: " + error.body() + b"\n\ndata: [DONE]\n\n"
        content = {"type": "error", "sequence_number": self._named_events} | {
            key: error.content[key] for key in ("code", "message", "param")
        }
        return b"event: error\ndata: " + json.dumps(content).encode() + b"\n\n"


def explain(status: int, given: Mapping[str, Any], exchange: Exchange) -> ApiError:
    """An error of the engine as OpenAI's clients know it, naming the part of the request that is to blame.

    Args:
        status: of the engine's answer.
        given: its error: `message`, `param`, `code`, each where it has one. `param` may be `<modality>[<index>]`, a
            medium counted over the whole request.
        exchange: what the request held, and which of its media could not be read.
    """
    message = str(given.get("message") or given.get("detail") or "the request was refused")
    param = given["param"] if isinstance(given.get("param"), str) else None
    code = given["code"] if isinstance(given.get("code"), str) else None
    if status == 404 and param == "model":
        code = "model_not_found"
    if status not in (400, 422):
        return ApiError(status=status, message=message, param=param, code=code)
    for part in exchange.parts:
        if part.url in exchange.failures:
            error = exchange.failures[part.url]
            return _about(part, str(error), error.code)
    if param and (match := _NTH_MEDIUM.fullmatch(param)):
        medium = nth(exchange.parts, match[1], int(match[2]))
        if medium is not None:
            return _about(medium, message, _limit_code(message))
    if _CONTEXT.search(message):
        return ApiError(status=400, message=message, param=exchange.prompt_param, code="context_length_exceeded")
    return ApiError(status=400, message=message, param=param, code=code or ("invalid_value" if param else None))


def _limit_code(message: str) -> str:
    """Which limit a message of the model's processor is about; its exception carries no code."""
    if message.startswith("at most"):
        return "too_many_media"
    return MediaLimitError.code if "at most" in message else MediaError.code


def _about(part: Part, message: str, code: str) -> ApiError:
    return ApiError(status=400, message=f"{part.path}: {message}", param=part.path, code=code)


def _mapping(body: bytes) -> dict[str, Any]:
    """A JSON object, empty if it is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
