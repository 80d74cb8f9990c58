"""The warm-up: what it asks, when the server is ready, and what becomes of a server that cannot answer."""

import asyncio
import base64
import io
import json
import wave
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from PIL import Image

from server.errors import refuse
from server.exchange import current_exchange
from server.life import end
from server.life.ready import router
from server.life.warm import WarmUp, requests
from server.middleware.errors import OpenAIErrors
from tests.support.asgi import error_of, post


class Engine:
    async def check_health(self) -> None:
        pass


class Served:
    """An application that answers conversations when it is let, with what it is told."""

    def __init__(self, status: int = 200, limits: dict[str, int] | None = None, **options: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.going = asyncio.Event()
        app = FastAPI()

        @app.post("/v1/chat/completions")
        async def answer(raw: Request) -> Any:
            self.asked.append((current_exchange().request_id, await raw.json()))
            await self.going.wait()
            if status == 415:
                raise refuse(415, "not like this")
            return JSONResponse({"error": {"message": "no room"}}, status_code=status)

        given = {"image": 3, "audio": 0} if limits is None else limits
        app.state.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(
                hf_config=SimpleNamespace(modality_specs=dict.fromkeys(given)),
                get_multimodal_config=lambda: SimpleNamespace(get_limit_per_prompt=given.__getitem__),
            )
        )
        app.state.engine_client, app.state.server = Engine(), SimpleNamespace(should_exit=False)
        self.app, self.warm = app, WarmUp(app, **options)

    async def live(self) -> asyncio.Task[None]:
        """Start as a server does; the task ends when the server does."""
        messages = [{"type": "lifespan.startup"}]
        started = asyncio.Event()
        self.over = asyncio.Event()

        async def receive() -> Any:
            if messages:
                return messages.pop()
            await self.over.wait()
            return {"type": "lifespan.shutdown"}

        async def send(message: Any) -> None:
            if message["type"] == "lifespan.startup.complete":
                started.set()

        scope = {"type": "lifespan", "app": self.app, "asgi": {"version": "3.0"}}
        task = asyncio.create_task(self.warm(scope, receive, send))
        await started.wait()
        return task

    async def ready(self) -> httpx.Response:
        asked = FastAPI()
        asked.include_router(router)
        asked.add_middleware(OpenAIErrors)
        asked.state = self.app.state
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=asked), base_url="http://test") as client:
            return await client.get("/ready")


async def test_ready_only_when_everything_was_answered() -> None:
    served = Served(limits={"image": 3, "audio": 2, "smell": 1})
    life = await served.live()
    early = await served.ready()
    assert early.status_code == 503
    assert error_of(early)["code"] == "not_ready"
    served.going.set()
    assert served.warm.task is not None
    await served.warm.task
    assert (await served.ready()).json() == {"status": "ready"}
    kinds = ["text", "image", "audio"]
    assert [name for name, _ in served.asked] == [
        f"warm-up-{kind}{suffix}" for kind in kinds for suffix in ("", "-logprobs")
    ]
    for name, body in served.asked:
        assert body.get("logprobs", False) == name.endswith("logprobs")
        assert body["max_tokens"] == 2
    # What a user sends can never be found to be the warm-up's.
    assert len({body["cache_salt"] for _, body in served.asked}) == len(kinds)
    served.over.set()
    await life


async def test_only_what_the_model_takes_and_only_if_wanted() -> None:
    served = Served()
    served.going.set()
    await served.live()
    assert served.warm.task is not None
    await served.warm.task
    assert {name.split("-")[2] for name, _ in served.asked} == {"text", "image"}
    quiet = Served(enabled=False)
    await quiet.live()
    assert quiet.warm.task is None
    assert (await quiet.ready()).status_code == 200
    # Requests of users pass.
    quiet.going.set()
    assert (await post(quiet.warm)).status_code == 200


@pytest.mark.parametrize("status", [400, 415])
async def test_a_refusal_is_how_the_server_was_set_up(status: int, caplog: pytest.LogCaptureFixture) -> None:
    served = Served(status)
    served.going.set()
    await served.live()
    assert served.warm.task is not None
    await served.warm.task
    assert (await served.ready()).status_code == 200
    assert f"warm-up with text was refused with {status}" in caplog.text
    assert not served.app.state.server.should_exit


async def test_a_server_that_cannot_answer_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(end, "_died", [])
    monkeypatch.setattr(end, "_asked", [])
    served = Served(500)
    served.going.set()
    await served.live()
    assert served.warm.task is not None
    await served.warm.task
    assert served.app.state.server.should_exit
    assert end.exit_status() == end.WARM_UP_FAILED
    assert "no room" in caplog.text


def test_media_are_new_every_time() -> None:
    first, second = (dict(requests(["image", "audio"])) for _ in range(2))
    assert list(first) == ["text", "text-logprobs", "image", "image-logprobs", "audio", "audio-logprobs"]
    for kind in ("image", "audio"):
        assert first[kind] != second[kind]
    picture = json.loads(first["image"])["messages"][0]["content"][0]["image_url"]["url"].partition("base64,")[2]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).size == (32, 32)
    sound = json.loads(first["audio"])["messages"][0]["content"][0]["input_audio"]["data"]
    with wave.open(io.BytesIO(base64.b64decode(sound))) as file:
        assert (file.getframerate(), file.getnframes()) == (8000, 2000)
