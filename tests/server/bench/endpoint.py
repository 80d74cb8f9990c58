"""A server of known timing: streams so many tokens after a delay, and remembers what it was asked."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.serving import free_port


@dataclass
class Endpoint:
    """What it does, and what it saw."""

    first: float = 0.0
    """Seconds before the first token."""
    each: float = 0.0
    """Seconds before every further one."""
    bad: int = 0
    """Every so-manieth request fails; 0 for none."""
    cut: bool = False
    """Streams end before the answer does."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    running: int = 0
    most: int = 0
    url: str = ""

    async def models(self, request: web.Request) -> web.Response:
        self.keys.add(request.headers.get("authorization"))
        return web.json_response({"object": "list", "data": [{"id": "served"}]})

    async def files(self, request: web.Request) -> web.Response:
        data = await request.post()
        self.uploads.append(data["file"].filename)  # type: ignore[union-attr]
        return web.json_response({"id": f"file-{len(self.uploads)}"})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self._chat(request)
        finally:
            self.running -= 1

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.keys.add(request.headers.get("authorization"))
        if self.bad and len(self.bodies) % self.bad == 0:
            return web.json_response({"error": {"message": "too much", "code": "busy"}}, status=503)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(self.first)
        for index in range(body["max_tokens"]):
            if index:
                await asyncio.sleep(self.each)
            await response.write(_event({"choices": [{"index": 0, "delta": {"content": "a"}}]}))
        if self.cut:
            return response
        pictures = sum(part["type"] in ("image_url", "file") for part in body["messages"][0]["content"])
        usage = {
            "prompt_tokens": 20 + 4 * pictures,
            "completion_tokens": body["max_tokens"],
            "prompt_tokens_details": {"cached_tokens": 5, "image_tokens": 4 * pictures, "audio_tokens": 0},
        }
        await response.write(b": still here\n\n" + _event({"choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        return response


def _event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """Run it on a loopback port."""
    app = web.Application(client_max_size=1 << 26)
    app.add_routes(
        [
            web.get("/v1/models", endpoint.models),
            web.post("/v1/files", endpoint.files),
            web.post("/v1/chat/completions", endpoint.chat),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    endpoint.url = f"http://127.0.0.1:{port}/v1"
    try:
        yield endpoint
    finally:
        await runner.cleanup()
