import re
from typing import Any

import pytest

from server.asgi import Receive, Scope, Send, header
from server.exchange import current_exchange
from server.middleware.headers import RequestHeaders
from tests.support.asgi import application, post, send_all


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the application sees of the id."""
    seen = header(scope["headers"], b"x-request-id").decode()
    assert seen == current_exchange().request_id
    await application(200, {"seen": seen})(scope, receive, send)


@pytest.mark.parametrize("given", ["a", "req_123", "01HF:trace/1.2=@+-", "x" * 128])
async def test_a_plain_id_is_kept(given: str) -> None:
    response = await post(RequestHeaders(echo), x_request_id=given)
    assert response.headers["x-request-id"] == given
    assert response.json() == {"seen": given}


@pytest.mark.parametrize(
    "given", ["", " ", "x" * 129, "a b", "<script>", "é", '"', "-a", "a\tb", "a%0d%0aset-cookie: b"]
)
async def test_any_other_is_replaced(given: str) -> None:
    scope: Any = {"headers": [(b"X-Request-Id", given.encode("latin-1"))]}
    start, *_ = await send_all(RequestHeaders(echo), [{"type": "http.request"}], scope)
    made = header(start["headers"], b"x-request-id").decode()
    assert re.fullmatch("[0-9a-f]{32}", made)


async def test_every_answer_has_its_own_id_and_its_time() -> None:
    first, second = await post(RequestHeaders(echo)), await post(RequestHeaders(application(500, b"oh no")))
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    for response in (first, second):
        assert 0 <= int(response.headers["openai-processing-ms"]) < 5000
        assert response.headers.get_list("x-request-id") == [response.headers["x-request-id"]]
        assert response.headers["x-mine"] == "1"


async def test_an_id_of_the_application_is_replaced() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Request-Id", b"other")]})
        await send({"type": "http.response.body", "body": b""})

    assert (await post(RequestHeaders(app), x_request_id="mine")).headers.get_list("x-request-id") == ["mine"]
