import re
from typing import Any

import httpx
import pytest

from server.asgi import Message, Receive, Scope, Send
from server.middleware.routes import ROUTES, AllowedRoutes, template
from tests.support.asgi import application, error_of, post


async def ask(app: Any, path: str, method: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.request(method, path, headers=headers)


async def test_unlisted_routes_never_reach_the_application() -> None:
    reached: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])
        await application(200, b"ok, fine")(scope, receive, send)

    refused = (
        "/invocations",
        "/v1/chat/completions/",
        "/v1/chat/completions/batch",
        "/v1/responses/a/b",
        "/v1/models/",
        "/v1/models/a/b/c",
        "/v1/models/a b",
        "/v1/models/é",
        "/v1/modelsx",
    )
    for path in refused:
        response = await post(AllowedRoutes(app), path)
        assert response.status_code == 404, path
        assert error_of(response)["code"] == "not_found"
    assert reached == []
    allowed = (
        "/",
        "/health",
        "/v1/models",
        "/v1/models/org/name-1.0",
        "/v1/responses/resp_1",
        "/v1/responses/resp_1/cancel",
    )
    for path in allowed:
        (*_, method) = ROUTES[template(path)]
        assert (await ask(AllowedRoutes(app), path, method)).status_code == 200
    assert reached == list(allowed)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_methods(route: str, method: str) -> None:
    response = await ask(AllowedRoutes(application(200), hidden=frozenset()), re.sub(r"\{\w+\}", "x", route), method)
    if method in ROUTES[route]:
        assert response.status_code == 200
        return
    assert response.status_code == 405
    assert response.headers["allow"] == ", ".join(ROUTES[route])
    if method != "HEAD":  # whose answers have no body
        error = error_of(response)
        assert error["code"] == "method_not_allowed"
        assert error["message"] == f"{route} answers {', '.join(ROUTES[route])} only"


async def test_a_browsers_question_passes() -> None:
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    assert (await ask(AllowedRoutes(application(200)), "/v1/files", "OPTIONS", **asked)).status_code == 200
    for name in asked:
        kept = {key: value for key, value in asked.items() if key != name}
        assert (await ask(AllowedRoutes(application(200)), "/v1/files", "OPTIONS", **kept)).status_code == 405


async def test_lifespan_passes_and_websockets_are_closed() -> None:
    seen: list[str] = []
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def send(message: Message) -> None:
        sent.append(message)

    for kind in ("lifespan", "websocket"):
        await AllowedRoutes(app)({"type": kind, "path": "/v1/realtime"}, None, send)  # type: ignore[arg-type]
    assert seen == ["lifespan"]
    assert sent == [{"type": "websocket.close", "code": 4404}]
