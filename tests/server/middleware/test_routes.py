from server.asgi import Message, Receive, Scope, Send
from server.middleware.routes import AllowedRoutes
from tests.support.asgi import application, error_of, post


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
        assert (await post(AllowedRoutes(app), path)).status_code == 200
    assert reached == list(allowed)


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
