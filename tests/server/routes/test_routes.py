"""The routes in front of an application without an engine: what they hand to vLLM, and what they say alone."""

import re
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from model.configuration import QuartetConfig
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.routes import ROUTES
from server.routes import ROUTERS, generation
from tests.support.asgi import error_of

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}
CHAT = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, PICTURE]}]}

SAID = [{"type": "input_text", "text": "a"}, PICTURE]


class Models:
    """The list of an engine with one adapter."""

    async def show_available_models(self) -> Any:
        cards = [("m", "/secret/place", None), ("m-adapter", "/secret/adapter", "m")]
        return SimpleNamespace(data=[SimpleNamespace(id=i, root=root, parent=parent) for i, root, parent in cards])

    def model_name(self) -> str:
        return "m"


class Renderer:
    """Makes a prompt of 30 tokens with one picture."""

    asked: Any = None

    async def render_chat(self, request: Any, *, skip_mm_cache: bool) -> Any:
        self.asked = (request, skip_mm_cache)
        places = {"image": [SimpleNamespace(length=4)]}
        return [], [{"prompt_token_ids": [1] * 30, "mm_placeholders": places}]


@pytest.fixture
def application(tiny_checkpoint: Any) -> Any:
    app = FastAPI(openapi_url=None)
    for router in ROUTERS:
        app.include_router(router)
    config = SimpleNamespace(
        max_model_len=64,
        hf_config=QuartetConfig.from_pretrained(tiny_checkpoint),
        get_multimodal_config=lambda: SimpleNamespace(get_limit_per_prompt={"image": 3, "audio": 0}.__getitem__),
    )
    app.state.vllm_config = SimpleNamespace(model_config=config)
    app.state.openai_serving_models = Models()
    app.state.online_renderer = Renderer()
    app.state.quartet_started = 1_700_000_000
    return app


@pytest.fixture
async def client(application: Any) -> Any:
    # As the engine's server does it: inside of what answers 500 to everything.
    application.add_middleware(OpenAIErrors)
    application.add_middleware(RequestHeaders)
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


async def test_models(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/v1/models")).json()
    assert listed["object"] == "list"
    card, adapter = listed["data"]
    assert (card["id"], card["root"], card["parent"]) == ("m", "m", None)
    assert (adapter["id"], adapter["root"], adapter["parent"]) == ("m-adapter", "m", "m")
    assert "secret" not in str(listed)
    assert card["context_length"] == card["max_model_len"] == 64
    assert card["architecture"]["input_modalities"] == ["text", "image"]
    assert card["media"]["image"] == {
        "tokens": 4,
        "max_items": 3,
        "max_bytes": 25 * 1024 * 1024,
        "max_pixels": 25_000_000,
        "formats": ["png", "jpeg", "webp", "gif", "bmp", "tiff"],
    }
    # The encoder's own window, which is shorter than what may be decoded.
    assert card["media"]["audio"]["max_seconds"] == 10
    assert (await client.get("/v1/models/m-adapter")).json() == adapter
    error = error_of(await client.get("/v1/models/org/other"))
    assert (error["param"], error["code"]) == ("model", "model_not_found")


async def test_counting(client: httpx.AsyncClient, application: Any) -> None:
    assert (await client.post("/v1/chat/completions/tokens", json=CHAT)).json() == {
        "object": "chat.completion.tokens",
        "model": "m",
        "prompt_tokens": 30,
        "prompt_tokens_details": {"text_tokens": 26, "image_tokens": 4},
        "context_length": 64,
        "max_completion_tokens": 34,
    }
    request, skipped = application.state.online_renderer.asked
    assert skipped is True
    assert request.model == "m"
    error = error_of(await client.post("/v1/chat/completions/tokens", json={**CHAT, "model": "other"}))
    assert error["code"] == "model_not_found"


HANDED: dict[str, tuple[str, dict[str, Any]]] = {
    "/v1/chat/completions": ("create_chat_completion", CHAT),
    "/v1/completions": ("create_completion", {"model": "m", "prompt": "a"}),
    "/v1/responses": ("create_responses", {"model": "m", "input": [{"role": "user", "content": SAID}]}),
    "/tokenize": ("vllm_tokenize", {"messages": CHAT["messages"]}),
    "/detokenize": ("vllm_detokenize", {"tokens": [1]}),
}


@pytest.mark.parametrize("path", HANDED)
async def test_requests_are_handed_to_the_engine_s_handlers(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    handler, body = HANDED[path]
    seen: list[Any] = []

    async def handle(request: Any, raw: Any) -> JSONResponse:
        seen.append(request)
        return JSONResponse({"answered": raw.url.path})

    monkeypatch.setattr(generation, handler, handle)
    response = await client.post(path, json=body)
    assert response.json() == {"answered": path}, response.text
    (request,) = seen
    if "messages" in str(body.keys()) or "input" in body:
        messages = getattr(request, "messages", None) or request.input
        plain = {"type": "image_url", "image_url": {"url": PICTURE["image_url"]["url"]}}  # type: ignore[index]
        assert list(messages[0]["content"])[1] == plain
    error = error_of(await client.post(path, content=b"{", headers={"content-type": "application/json"}))
    assert error["code"] == "invalid_json"
    assert (await client.post(path, content=b"{}")).status_code == 415
    assert (await client.get(path)).status_code == 405


async def test_every_route_of_ours_is_allowed() -> None:
    def plain(route: str) -> str:
        return re.sub(r"\{\w+(:path)?\}", "{}", route)

    allowed = {(plain(route), method) for route, methods in ROUTES.items() for method in methods}
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            assert {(plain(route.path), method) for method in route.methods} <= allowed


async def test_the_document_is_made_once(client: httpx.AsyncClient, application: Any) -> None:
    described = (await client.get("/openapi.json")).json()
    assert (described["info"]["title"], described["openapi"]) == ("Quartet", "3.1.0")
    application.state.quartet_openapi = b"{}"
    assert (await client.get("/openapi.json")).json() == {}
