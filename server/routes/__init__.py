"""Our routes, one router a file; `ROUTERS` lists them all.

Those with the path of one of vLLM's routes stand in front of it: they read and check the request and then call vLLM's
own handler.
"""

from fastapi import APIRouter

from server.life import ready
from server.metrics import route as metrics
from server.routes import adapters, files, generation, models, openapi, playground, tokens

ROUTERS: tuple[APIRouter, ...] = (
    generation.router,
    tokens.router,
    models.router,
    files.router,
    adapters.router,
    ready.router,
    metrics.router,
    playground.router,
    openapi.router,
)
