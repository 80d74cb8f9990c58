"""Which adapter a conversation gets, what vLLM is started with, and loading by an admin, without an engine."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse

from model.configuration import QuartetConfig
from model.errors import CheckpointError, ConfigurationError
from server.adapters.choice import default_adapters, modalities
from server.adapters.flags import fitting_rank, lora_flags
from server.adapters.hot import hot_adapters
from server.entrance import Entry
from server.exchange import Exchange, current_exchange
from server.keys.key import Key
from server.middleware.errors import OpenAIErrors
from server.middleware.headers import RequestHeaders
from server.middleware.routes import ADAPTER_ROUTES, AllowedRoutes
from server.routes import adapters as routes
from server.settings import ServerSettings
from tests.support.adapters import train_adapter
from tests.support.asgi import application, error_of, post

KEY = "k" * 24


def prompt(*kinds: str) -> dict[str, Any]:
    places = {kind: [object()] for kind in kinds} | {"video": []}
    return {"type": "multimodal", "prompt_token_ids": [1], "mm_placeholders": places}


@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ((), None),
        (("image",), "seer"),
        (("audio",), "hearer"),
        (("image", "smell"), "seer"),
        (("image", "audio"), None),
    ],
)
def test_the_media_choose(kinds: tuple[str, ...], chosen: str | None) -> None:
    state = SimpleNamespace(openai_serving_models=SimpleNamespace(lora_requests={"seer": "seer", "hearer": "hearer"}))
    guard = default_adapters(state, {"image": "seer", "audio": "hearer", "smell": "seer"})
    entry = Entry(prompt=prompt(*kinds), sampling=None, options={}, exchange=Exchange(request_id=""))
    guard(entry)
    assert entry.options.get("lora_request") == chosen
    named = Entry(prompt=prompt(*kinds), sampling=None, options={"lora_request": "mine"}, exchange=entry.exchange)
    guard(named)
    assert named.options["lora_request"] == "mine"


def test_modalities_of_every_form_of_a_prompt() -> None:
    assert modalities(prompt("image")) == {"image"}
    assert modalities({"type": "token", "prompt_token_ids": [1]}) == modalities("text") == set()
    assert modalities(SimpleNamespace(mm_features=[SimpleNamespace(modality="audio")])) == {"audio"}
    assert modalities(SimpleNamespace(mm_features=None)) == set()


@pytest.fixture(scope="module")
def adapters(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    for seed, rank in ((1, 4), (2, 8)):
        train_adapter(tiny_checkpoint.parent / "llm", folder / f"a{seed}", seed=seed, rank=rank)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_CACHE", str(tmp_path / "cache"))


def test_flags(tiny_checkpoint: Path, adapters: Path) -> None:
    config = QuartetConfig.from_pretrained(tiny_checkpoint)
    own = ["--enable-lora", "--max-lora-rank", "8"]
    assert lora_flags(ServerSettings(), tiny_checkpoint, config) == own
    settings = ServerSettings(lora_modules={"one": str(adapters / "a1"), "two": str(adapters / "a2")}, max_loras=2)
    *flags, first, second = lora_flags(settings, tiny_checkpoint, config)
    assert flags == [*own, "--max-loras", "2", "--max-cpu-loras", "3", "--lora-modules"]
    assert json.loads(first)["name"] == "one"
    assert Path(json.loads(second)["path"], "adapter_config.json").is_file()
    hot = ServerSettings(lora_directory=str(adapters), api_key=KEY, max_lora_rank=20)
    assert lora_flags(hot, tiny_checkpoint, config)[:3] == ["--enable-lora", "--max-lora-rank", "32"]
    config.adapter_scope = "always"
    assert lora_flags(ServerSettings(), tiny_checkpoint, config) == []
    # Without keys nobody is an admin.
    assert lora_flags(ServerSettings(lora_directory=str(adapters)), tiny_checkpoint, config) == []
    with pytest.raises(ConfigurationError, match=r"lora_modules: one: .*none: adapter_config.json: not there"):
        lora_flags(ServerSettings(lora_modules={"one": str(adapters / "none")}), tiny_checkpoint, config)


@pytest.mark.parametrize("chosen", [{"image": "two"}, {"smell": "one"}])
def test_a_choice_that_cannot_be(tiny_checkpoint: Path, adapters: Path, chosen: dict[str, str]) -> None:
    settings = ServerSettings(lora_modules={"one": str(adapters / "a1")}, default_mm_loras=chosen)
    with pytest.raises(
        ConfigurationError, match=r"default_mm_loras: \w+=\w+: name one of lora_modules .* audio, image"
    ):
        lora_flags(settings, tiny_checkpoint, QuartetConfig.from_pretrained(tiny_checkpoint))


def test_ranks() -> None:
    assert [fitting_rank(rank, Path("x")) for rank in (1, 2, 8, 9, 500)] == [1, 8, 8, 16, 512]
    with pytest.raises(CheckpointError, match="rank 513 is above 512"):
        fitting_rank(513, Path("x"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lora_modules": {"image": "x"}}, "'image' cannot be the name of an adapter"),
        ({"lora_modules": {"a/b": "x"}}, "'a/b' cannot be the name"),
        ({"max_lora_rank": 0}, "max_lora_rank: 0 is outside 1..512"),
    ],
)
def test_impossible_settings(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ServerSettings(**values)
    assert words in str(raised.value)


class Models:
    """Stands for vLLM's list of models."""

    def __init__(self) -> None:
        self.lora_requests: dict[str, Any] = {"static": SimpleNamespace(lora_path="s", lora_name="static")}
        self.refuses: str | None = None

    def is_base_model(self, name: str) -> bool:
        return name == "tiny"

    async def load_lora_adapter(self, request: Any) -> Any:
        await asyncio.sleep(0)
        assert request.lora_name not in self.lora_requests
        assert not request.load_inplace
        if self.refuses:
            return ErrorResponse(error=ErrorInfo(message=self.refuses, type="InternalServerError", code=500))
        self.lora_requests[request.lora_name] = request
        return "Success"


class Server:
    """The routes in front of an engine's list of models, as an application."""

    def __init__(self, settings: ServerSettings, config: QuartetConfig, processes: int = 1) -> None:
        self.models = Models()
        self.app = FastAPI()
        self.app.include_router(routes.router)
        self.app.add_middleware(OpenAIErrors)
        self.app.state.openai_serving_models = self.models
        args = SimpleNamespace(api_server_count=processes)
        self.app.state.quartet_adapters = hot_adapters(settings, self.app.state, config, args)
        self.role: Any = "admin"

    async def post(self, path: str, **body: Any) -> httpx.Response:
        async def with_key(scope: Any, receive: Any, send: Any) -> None:
            if self.role is not None:
                current_exchange().key = Key(name="k", hash="sha256:" + "0" * 64, role=self.role)
            await self.app(scope, receive, send)

        return await post(RequestHeaders(with_key), f"/v1/{path}_lora_adapter", body)


@pytest.fixture
def settings(adapters: Path) -> ServerSettings:
    return ServerSettings(lora_directory=str(adapters), api_key=KEY, lora_modules={"static": "s"}, max_lora_rank=8)


@pytest.fixture
def hot(settings: ServerSettings, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    hot = Server(settings, QuartetConfig.from_pretrained(tiny_checkpoint))

    async def cards(raw: Any) -> list[dict[str, Any]]:
        return [{"id": name, "parent": "tiny"} for name in hot.models.lora_requests]

    monkeypatch.setattr(routes, "cards", cards)
    return hot


async def test_loading_and_unloading(hot: Server, adapters: Path) -> None:
    loaded = await hot.post("load", lora_name="new", lora_path="a1")
    assert loaded.status_code == 200, loaded.text
    sha256 = loaded.json()["sha256"]
    assert loaded.json() == {"id": "new", "parent": "tiny", "sha256": sha256}
    path = hot.models.lora_requests["new"].lora_path
    assert not Path(path).is_relative_to(adapters)
    again = error_of(await hot.post("load", lora_name="new", lora_path="a2"))
    assert (again["code"], again["param"]) == ("adapter_exists", "lora_name")
    replaced = await hot.post("load", lora_name="new", lora_path=str(adapters / "a2"), load_inplace=True)
    assert replaced.status_code == 200
    assert hot.models.lora_requests["new"].lora_path != path
    assert (await hot.post("load", lora_name="other", lora_path="a1", sha256=sha256)).status_code == 200
    gone = await hot.post("unload", lora_name="new")
    assert gone.json() == {"id": "new", "object": "model", "deleted": True}
    assert set(hot.models.lora_requests) == {"static", "other"}
    assert error_of(await hot.post("unload", lora_name="new"))["code"] == "model_not_found"
    for path in ("load", "unload"):
        fixed = await hot.post(path, lora_name="static", **({"lora_path": "a1"} if path == "load" else {}))
        assert fixed.status_code == 400
        assert error_of(fixed)["code"] == "adapter_exists"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"lora_name": "new", "lora_path": ".."}, "lora_path", "invalid_adapter"),
        ({"lora_name": "new", "lora_path": "/etc"}, "lora_path", "invalid_adapter"),
        ({"lora_name": "new", "lora_path": "."}, "lora_path", "invalid_adapter"),
        ({"lora_name": "new", "lora_path": ""}, "lora_path", "invalid_value"),
        ({"lora_name": "new"}, "lora_path", "missing_required_parameter"),
        ({"lora_name": "new", "lora_path": "a1", "sha256": "0" * 64}, "sha256", "invalid_adapter"),
        ({"lora_name": "new", "lora_path": "a1", "sha256": "0"}, "sha256", "invalid_value"),
        ({"lora_name": "new", "lora_path": "a1", "load_inplace": "yes"}, "load_inplace", "invalid_type"),
        ({"lora_name": "new", "lora_path": "a1", "hurry": True}, "hurry", "unknown_parameter"),
        ({"lora_name": "tiny", "lora_path": "a1"}, "lora_name", "invalid_value"),
        ({"lora_name": "image", "lora_path": "a1"}, "lora_name", "invalid_value"),
        ({"lora_name": "quartet-media", "lora_path": "a1"}, "lora_name", "invalid_value"),
        ({"lora_name": "../x", "lora_path": "a1"}, "lora_name", "invalid_value"),
    ],
)
async def test_bad_requests(hot: Server, body: dict[str, Any], param: str, code: str) -> None:
    response = await hot.post("load", **body)
    assert response.status_code == 400, response.text
    error = error_of(response)
    assert (error["param"], error["code"]) == (param, code)
    assert set(hot.models.lora_requests) == {"static"}


async def test_what_the_engine_refuses(hot: Server) -> None:
    assert (await hot.post("load", lora_name="new", lora_path="a1")).status_code == 200
    before = hot.models.lora_requests["new"]
    hot.models.refuses = "Call to add_lora failed: rank in /some/where/config too large"
    error = error_of(await hot.post("load", lora_name="new", lora_path="a2", load_inplace=True))
    assert error["message"] == "the engine refused the adapter: Call to add_lora failed: rank in ... too large"
    assert hot.models.lora_requests["new"] is before


async def test_only_admins(hot: Server, settings: ServerSettings) -> None:
    for role in ("user", None):
        hot.role = role
        response = await hot.post("load", lora_name="new", lora_path="a1")
        assert response.status_code == 403
        assert error_of(response)["type"] == "permission_error"
    hot.app.state.quartet_adapters.alone = False
    hot.role = "admin"
    assert (await hot.post("load", lora_name="new", lora_path="a1")).status_code == 501
    assert hot_adapters(settings, None, None, SimpleNamespace(api_server_count=2)).alone is False  # type: ignore[union-attr]


async def test_absent_unless_allowed(adapters: Path, tiny_checkpoint: Path) -> None:
    config = QuartetConfig.from_pretrained(tiny_checkpoint)
    for values in ({}, {"api_key": KEY}, {"lora_directory": str(adapters)}):
        hot = Server(ServerSettings(**values), config)  # type: ignore[arg-type]
        response = await hot.post("load", lora_name="new", lora_path="a1")
        assert response.status_code == 404
    for path in ADAPTER_ROUTES:
        assert (await post(AllowedRoutes(application(body={})), path)).status_code == 404
        assert (await post(AllowedRoutes(application(body={}), hidden=frozenset()), path)).status_code == 200
