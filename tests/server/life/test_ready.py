"""`/ready`, and the exit status that tells a dead engine from a server that was told to end."""

from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from vllm.v1.engine.exceptions import EngineDeadError

from server.life.end import ENGINE_DIED, exit_status, watch_end
from server.life.ready import router
from server.middleware.errors import OpenAIErrors
from server.middleware.routes import ROUTES
from server.routes import ROUTERS
from tests.support.asgi import error_of


class Engine:
    errored = False
    shut = 0

    async def check_health(self) -> None:
        if self.errored:
            raise EngineDeadError

    def shutdown(self, timeout: float = 0.0) -> None:
        self.shut += 1
        self.errored = True


async def ask(engine: Engine, ending: bool = False) -> httpx.Response:
    app = FastAPI()
    app.include_router(router)
    app.add_middleware(OpenAIErrors)
    app.state.engine_client, app.state.server = engine, SimpleNamespace(should_exit=ending)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get("/ready")


async def test_ready() -> None:
    engine = Engine()
    assert (await ask(engine)).json() == {"status": "ready"}
    ending = await ask(engine, ending=True)
    engine.errored = True
    for response in (ending, await ask(engine)):
        assert response.status_code == 503
        assert error_of(response)["code"] == "not_ready"
        assert response.headers["retry-after"] == "1"
    assert router in ROUTERS
    assert "/ready" in ROUTES


@pytest.mark.parametrize(("died", "status"), [(False, 0), (True, ENGINE_DIED)])
def test_exit_status(died: bool, status: int) -> None:
    engine = Engine()
    watch_end(engine)
    engine.errored = died
    # vLLM shuts its engine down once on a signal and once more when it leaves.
    engine.shutdown(timeout=1.0)
    engine.shutdown()
    assert exit_status() == status
    assert engine.shut == 2
