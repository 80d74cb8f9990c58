"""Every error answer in OpenAI's shape, naming the offending part of the request.

The engine reports errors in its own words and knows nothing of paths. This middleware keeps hold of the request's body
(the very bytes the application reads, not a copy) until the answer begins; a success forgets it, an error parses it
and finds the part to blame.
"""

import logging
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from model.errors import MediaError, MediaLimitError
from server.errors import ApiError
from server.failures import Failures, failures
from server.middleware.routes import App, Receive, Scope, Send
from server.parts import Part, nth, parse_body, parts

logger = logging.getLogger("server.errors")

# Larger requests are answered all the same, only without the path of the part.
MAX_KEPT_BYTES = 256 * 1024 * 1024
_NTH_MEDIUM = re.compile(r"([a-z]+)\[(\d+)\]")
_CONTEXT = re.compile(
    r"maximum (?:context|model|input) length|maximum number of .*tokens|longer than the maximum", re.IGNORECASE
)
# How FastAPI's validation errors are printed by vLLM: {'loc': 'body.messages', 'msg': '...', ...}
_REASON = re.compile(r"""['"]msg['"]: (['"])(.*?)\1""")


class OpenAIErrors:
    """Rewrites answers with status 400 and above; catches what the application did not."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and rewrite the answer if it is an error."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send)
        token = failures.set(exchange.failures)
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except Exception:
            if exchange.started:
                raise
            # The type and traceback are for the operator, not for the client.
            logger.exception("%s %s failed", scope.get("method"), scope.get("path"))
            await exchange.answer(ApiError(status=500, message="the server failed to answer; its log says why"))
        finally:
            failures.reset(token)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self.failures: Failures = {}
        self.started = False
        self._request: list[bytes] | None = []
        self._kept = 0
        self._error_start: MutableMapping[str, Any] | None = None
        self._error_body: list[bytes] = []

    async def receive(self) -> MutableMapping[str, Any]:
        """Hand over a message, remembering the body."""
        message = await self._receive()
        if message["type"] == "http.request" and self._request is not None:
            self._kept += len(message.get("body", b""))
            self._request.append(message.get("body", b""))
            if self._kept > MAX_KEPT_BYTES:
                self._request = None
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Pass a success on at once; hold an error back until it is complete."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                self._error_start = message
                return
            self._request = None
            self.started = True
        elif self._error_start is not None and message["type"] == "http.response.body":
            self._error_body.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self.answer(self._explain(), self._error_start.get("headers", ()))
            return
        await self._send(message)

    async def answer(self, error: ApiError, headers: Any = ()) -> None:
        """Send an error; headers about the old body are replaced."""
        self.started = True
        kept = [(k, v) for k, v in headers if k.lower() not in (b"content-length", b"content-type")]
        await self._send({"type": "http.response.start", "status": error.status, "headers": kept + error.headers()})
        await self._send({"type": "http.response.body", "body": error.body()})

    def _explain(self) -> ApiError:
        assert self._error_start is not None
        status: int = self._error_start["status"]
        original = parse_body(b"".join(self._error_body))
        # FastAPI answers {"detail": ...} where vLLM answers {"error": {...}}.
        given = original.get("error", original)
        given = given if isinstance(given, dict) else {"message": str(given)}
        message = str(given.get("message") or given.get("detail") or "the request was refused")
        param = given.get("param") if isinstance(given.get("param"), str) else None
        code = given.get("code") if isinstance(given.get("code"), str) else None
        if status == 422:
            status = 400
        if status == 404 and param == "model":
            code = "model_not_found"
        if status != 400:
            return ApiError(status=status, message=message, param=param, code=code)
        request = parse_body(b"".join(self._request or ()))
        return explain(request, self.failures, message, param) or ApiError(
            status=400, message=_plain(message), param=_json_path(param) if request else None, code=code
        )


def explain(request: Mapping[str, Any], failed: Failures, message: str, param: str | None) -> ApiError | None:
    """The part of a refused request that is to blame, if it is a part.

    Args:
        request: the parsed body.
        failed: URLs of media that could not be read, and why.
        message: what the engine said.
        param: what the engine named; `<modality>[<index>]` is a medium counted over the whole request.
    """
    if "messages" in request and not isinstance(request["messages"], list):
        return ApiError(
            status=400, message='messages must be a list of {"role": ..., "content": ...}', param="messages"
        )
    listed = list(parts(request))
    if failed:
        for part in listed:
            if part.url in failed:
                error = failed[part.url]
                return _about(part, str(error), error.code)
    if param and (match := _NTH_MEDIUM.fullmatch(param)):
        medium = nth(request, match[1], int(match[2]))
        if medium is not None:
            return _about(medium, message, _limit_code(message))
    for part in listed:
        if part.problem:
            return _about(part, part.problem, "invalid_part")
    if _CONTEXT.search(message):
        where = next((key for key in ("messages", "prompt", "input") if key in request), None)
        return ApiError(status=400, message=message, param=where, code="context_length_exceeded")
    return None


def _limit_code(message: str) -> str:
    """Which limit a message of the model's processor is about; its exception carries no code."""
    if message.startswith("at most"):
        return "too_many_media"
    return MediaLimitError.code if "at most" in message else MediaError.code


def _about(part: Part, message: str, code: str) -> ApiError:
    return ApiError(status=400, message=f"{part.path}: {message}", param=part.path, code=code)


def _plain(message: str) -> str:
    """The reason of a validation error without the input it repeats."""
    if "validation error" not in message:
        return message
    reason = _REASON.search(message)
    return f"the request is not valid: {reason[2]}" if reason else "the request does not have the form of this route"


def _json_path(param: str | None) -> str | None:
    """`body.messages.0.role` -> `messages[0].role`."""
    if param is None:
        return None
    path = ""
    for step in param.removeprefix("body.").split("."):
        if step[:1].isupper():
            continue  # the name of a Python class, for one branch of a union
        path += f"[{step}]" if step.isdigit() else f".{step}" if path else step
    return path
