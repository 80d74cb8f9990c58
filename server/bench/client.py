"""One streamed chat completion, and what it took: times as they arrive at the socket, counts as the server says them.

aiohttp, whose parser is compiled: on a machine that the server runs on too, the client must not be what is measured.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

from model.errors import QuartetError
from server.bench.media import Medium
from server.bench.plan import Target

# Shorter than servers keep an idle connection (uvicorn: 5 s), so that none is used in the moment it is closed.
KEEP_ALIVE = 3.0
READ = 1 << 18


class BenchError(QuartetError):
    """The server cannot be measured: it is not there, or refuses what the run needs before it begins."""

    code = "bench_failed"


@dataclass(kw_only=True)
class Outcome:
    """One request and its answer; times are `time.perf_counter`, seconds."""

    started: float
    """When it was sent."""
    arrivals: list[float] = field(default_factory=list)
    """When each piece of the answer came; the first is the first token's."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    media_tokens: dict[str, int] = field(default_factory=dict)
    """Of the prompt, by modality, where the server says so."""
    media: dict[str, int] = field(default_factory=dict)
    """How many media were sent, by modality."""
    repeated: int = 0
    """How many of them had been sent before."""
    late: float = 0.0
    """How much later than planned it was sent, seconds."""
    ended: float = 0.0
    """When its last byte came."""
    error: str | None = None
    """Why it failed; None for a whole answer."""


class Client:
    """Talks to one server; an asynchronous context manager."""

    def __init__(self, target: Target, timeout: float) -> None:
        self.target, self._timeout = target, timeout

    async def __aenter__(self) -> "Client":
        headers = {"authorization": f"Bearer {self.target.key}"} if self.target.key else {}
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE),
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers=headers,
            read_bufsize=READ,
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def address(self, path: str) -> str:
        """The URL of a path of the API."""
        return f"{self.target.url.rstrip('/')}/{path}"

    async def model(self) -> str:
        """The model id to name.

        Raises:
            BenchError: the server is not there, refuses the key, or lists no model.
        """
        if self.target.model is not None:
            return self.target.model
        listed = await self._json("GET", "models")
        if not listed.get("data"):
            raise BenchError(f"{self.target.url} lists no model; name one")
        return str(listed["data"][0]["id"])

    async def upload(self, medium: Medium, name: str) -> str:
        """Upload a medium; the id to name it by.

        Raises:
            BenchError: the server has no files or refuses this one.
        """
        form = aiohttp.FormData()
        form.add_field("purpose", "user_data")
        form.add_field("file", medium.data, filename=name, content_type=medium.mime)
        return str((await self._json("POST", "files", form))["id"])

    async def _json(self, method: str, path: str, data: Any = None) -> dict[str, Any]:
        url = self.address(path)
        try:
            async with self._http.request(method, url, data=data) as response:
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BenchError(f"{url}: {_reason(error)}") from None
        if response.status != 200:
            raise BenchError(f"{url}: answered with {response.status}: {_message(text)}")
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise BenchError(f"{url}: the answer is no JSON object; the address should end with /v1")
        return value

    async def ask(self, body: bytes, outcome: Outcome) -> Outcome:
        """Send a request and read its answer to the end; whatever goes wrong is noted in `outcome`."""
        outcome.started = time.perf_counter()
        headers = {"content-type": "application/json"}
        try:
            async with self._http.post(self.address("chat/completions"), data=body, headers=headers) as response:
                if response.status != 200:
                    outcome.error = f"{response.status}: {_message(await response.text())}"
                else:
                    await _read(response.content, outcome)
        except TimeoutError:
            outcome.error = f"no answer within {self._timeout:g} s"
        except (aiohttp.ClientError, ValueError) as error:
            outcome.error = _reason(error)
        outcome.ended = time.perf_counter()
        return outcome


async def _read(content: aiohttp.StreamReader, outcome: Outcome) -> None:
    pieces, done = 0, False
    events = Events()
    async for data in content.iter_any():
        now = time.perf_counter()
        for event in events.feed(data):
            if event == b"[DONE]":
                done = True
                continue
            value = json.loads(event)
            if value.get("error"):
                outcome.error = f"in the stream: {str(value['error'].get('message'))[:200]}"
            elif value.get("choices"):
                outcome.arrivals.append(now)
                pieces += 1
            if usage := value.get("usage"):
                _count(usage, outcome)
    if outcome.error is None and not (done and outcome.arrivals):
        outcome.error = "the stream ended before the answer did"
    outcome.output_tokens = outcome.output_tokens or pieces


class Events:
    """Cuts a stream of server-sent events into their data; comments are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data of every event that is complete with these bytes."""
        *events, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield b"\n".join(lines)


def _count(usage: dict[str, Any], outcome: Outcome) -> None:
    """Take the counts of a `usage`, in OpenAI's names or in those of vLLM's own server."""
    outcome.prompt_tokens = int(usage.get("prompt_tokens") or 0)
    outcome.output_tokens = int(usage.get("completion_tokens") or 0)
    details = usage.get("prompt_tokens_details") or {}
    outcome.cached_tokens = int(details.get("cached_tokens") or 0)
    counted = details.get("multimodal_tokens") or {
        name: details.get(f"{name}_tokens") for name in ("image", "audio") if details.get(f"{name}_tokens")
    }
    outcome.media_tokens = {str(name): int(count) for name, count in counted.items()}


def _message(text: str) -> str:
    try:
        value = json.loads(text)
        error = value.get("error", value)
        return str(error.get("message", error) if isinstance(error, dict) else error)[:200]
    except (ValueError, AttributeError):
        return text[:200]


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
