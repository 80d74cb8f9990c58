"""A client that goes away ends its generation: the engine's own counters say so."""

import time
from typing import Any

import httpx
import pytest

from tests.support.serving import ServerProcess

# Tokens; nearly all that the context holds.
ASKED = 900


def counters(server: ServerProcess) -> dict[str, float]:
    """Sums of the engine's metrics by name, without labels."""
    found: dict[str, float] = {}
    for line in httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines():
        if line.startswith("vllm:"):
            name = line.partition("{")[0].partition(" ")[0]
            found[name] = found.get(name, 0.0) + float(line.rsplit(" ", 1)[1])
    return found


def leave(server: ServerProcess, path: str, body: dict[str, Any], stream: bool) -> None:
    """Send a request and go away before its answer is complete."""
    url = f"{server.url}{path}"
    if stream:
        with httpx.stream("POST", url, json=body | {"stream": True}, timeout=60) as response:
            assert next(response.iter_lines()).startswith(("data: ", "event: "))
        return
    try:
        answered = httpx.post(url, json=body, timeout=httpx.Timeout(60, read=0.3))
    except httpx.ReadTimeout:
        return
    pytest.fail(f"answered before the client left: {answered.text[:200]}")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    ("path", "prompt"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "max_tokens": ASKED}),
        ("/v1/completions", {"prompt": "a", "max_tokens": ASKED}),
        ("/v1/responses", {"input": "a", "max_output_tokens": ASKED}),
    ],
)
def test_nothing_is_generated_for_nobody(
    server: ServerProcess, path: str, prompt: dict[str, Any], stream: bool
) -> None:
    body = {"model": server.model, "ignore_eos": True, "temperature": 0, **prompt}
    before = counters(server)["vllm:generation_tokens_total"]
    leave(server, path, body, stream)
    deadline = time.monotonic() + 30
    while (found := counters(server))["vllm:num_requests_running"] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found["vllm:num_requests_running"] == found["vllm:num_requests_waiting"] == 0
    assert found["vllm:generation_tokens_total"] - before < ASKED
    time.sleep(0.5)
    assert counters(server)["vllm:generation_tokens_total"] == found["vllm:generation_tokens_total"]
