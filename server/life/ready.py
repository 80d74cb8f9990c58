"""`GET /ready`: whether the server can answer a conversation now. `/health` says that the process lives.

It is there once the weights are loaded, because nothing listens before; it fails until the warm-up is done, and when
the engine is dead or the server is about to end, so that an orchestrator sends nobody here.
"""

from typing import Any

from fastapi import APIRouter, Request
from vllm.v1.engine.exceptions import EngineDeadError

from server.errors import refuse

router = APIRouter()


@router.get("/ready")
async def ready(raw: Request) -> dict[str, str]:
    """`{"status": "ready"}`.

    Raises:
        RefusedError: 503, the server is warming up or ending, or the engine is dead.
    """
    state: Any = raw.app.state
    if getattr(state, "quartet_ending", False) or getattr(getattr(state, "server", None), "should_exit", False):
        raise refuse(503, "the server is ending", code="not_ready")
    if getattr(state, "quartet_warming", False):
        raise refuse(503, "the server is warming up", code="not_ready")
    try:
        await state.engine_client.check_health()
    except EngineDeadError:
        raise refuse(503, "the engine is dead; the server ends and must be started again", code="not_ready") from None
    return {"status": "ready"}
