"""The soak test itself: it finds nothing wrong with a server that keeps its books, and says what is wrong with others.

The server here is ours without an engine: middleware, reading of requests, decoding of media, counting. Answers are
made up. The soak of a whole server is in tests/e2e/test_soak.py and docs/soak.md.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import VLLMValidationError

from benchmarks import soak as module
from benchmarks.soak import Soak, Standing, Watched, _left_behind, table
from benchmarks.soak_plan import CANCELLED, GOOD, MALFORMED, plan
from server.connector import QuartetConnector
from server.entrance import Entry
from server.errors import refuse
from server.exchange import current_exchange
from server.metrics import route
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.outcome import Outcome, Outcomes
from server.middleware.routes import AllowedRoutes
from server.prompts import count_prompts
from server.requests import read, validated
from tests.support.listening import listening

TOKENS = 4


def application(listeners: Any) -> Any:
    """A server without an engine."""
    app = FastAPI()
    app.state.engine_client = SimpleNamespace(errored=False)
    app.include_router(route.router)
    enter = count_prompts(("image", "audio"))

    @app.get("/v1/models/tiny")
    async def card() -> dict[str, Any]:
        return {"media": {"image": {"tokens": TOKENS}, "audio": {"tokens": TOKENS}}}

    @app.post("/v1/chat/completions")
    async def chat(raw: Request) -> Response:
        request = validated(ChatCompletionRequest, await read(raw))
        if request.model != "tiny":
            raise refuse(404, "no such model", code="model_not_found")
        if not 0 < (request.max_tokens or 1) < 1000:
            raise refuse(400, "max_tokens", param="max_tokens")
        reader = QuartetConnector()
        fetch = {"image": reader.fetch_image_async, "audio": reader.fetch_audio_async}
        places: dict[str, list[Any]] = {}
        try:
            for part in current_exchange().parts:
                if part.modality is not None and part.url is not None:
                    await fetch[part.modality](part.url)
                    places.setdefault(part.modality, []).append(SimpleNamespace(length=TOKENS))
        except VLLMValidationError as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)
        enter(Entry(prompt={"mm_placeholders": places, "prompt_token_ids": [1]}, sampling=None, options={}))
        if not request.stream:
            return JSONResponse({})

        async def events() -> AsyncIterator[bytes]:
            for _ in range(request.max_tokens or 1):
                yield b"data: {}\n\n"
                await asyncio.sleep(0.01)
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    # Inside the application, as in vLLM's: its outermost layer answers what is raised.
    app.add_middleware(OpenAIErrors)
    return RequestHeaders(Outcomes(AllowedRoutes(app), listeners))


def serve(listeners: Any) -> Iterator[str]:
    route.begin()
    with listening(application(listeners), log_level="error") as chosen:
        yield f"http://127.0.0.1:{chosen}"


@pytest.fixture
def honest() -> Iterator[str]:
    yield from serve(None)


@pytest.fixture
def careless() -> Iterator[str]:
    """Does not count every answer."""
    from server.metrics.requests import count

    seen: list[int] = []

    def sometimes(outcome: Outcome) -> None:
        seen.append(outcome.status)
        if len(seen) != 20:
            count(outcome)

    yield from serve((sometimes,))


async def test_an_honest_server(honest: str) -> None:
    report = await Soak(honest, os.getpid(), "tiny", None).run(150, 6, seed=3)
    assert report["problems"] == []
    assert report["kinds"] == {GOOD: 120, MALFORMED: 15, CANCELLED: 15}
    assert sum(report["statuses"].values()) == 150
    assert set(report["statuses"]) == {"200", "400", "404"}
    assert report["media"] == sum(len(one.media) for one in plan(150, 3, "tiny")) > 50
    assert {entry["process"] for entry in report["memory"]}
    assert table(report).count("\n") >= 6


async def test_a_careless_server_is_found(careless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE", 0.5)
    report = await Soak(careless, os.getpid(), "tiny", None).run(40, 6, seed=3)
    assert any(problem.startswith("answers by status: ") for problem in report["problems"])


async def test_an_answer_that_was_not_intended(honest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ALIVE", 0.5)
    soak = Soak(honest, os.getpid(), "tiny", None)
    # Nobody else's model is expected to be there.
    monkeypatch.setattr(module, "plan", lambda requests, seed, model: plan(requests, seed, "another"))
    problems = (await soak.run(10, 2, seed=0))["problems"]
    assert any("404 instead of 200" in problem for problem in problems)


def test_slope() -> None:
    watched = Watched("x", 1, [(0, 10**9), *((n, 5_000 + 7 * n) for n in range(100, 200, 10))])
    assert round(watched.slope(100), 6) == 7
    assert Watched("x", 1, [(5, 3), (5, 4)]).slope(0) == 0


def test_what_is_left_behind() -> None:
    before = Standing(descriptors=50, tasks=9, temporary_files=3)
    assert _left_behind(before, Standing(descriptors=52, tasks=9, temporary_files=1)) == []
    assert _left_behind(before, Standing(descriptors=53, tasks=9, temporary_files=3)) == [
        "descriptors: 50 after the warm-up, 53 at the end"
    ]
