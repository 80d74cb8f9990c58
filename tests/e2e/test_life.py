"""How a server ends: its own process, because it does not survive."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from server.life.end import ENGINE_DIED
from tests.support.serving import ServerProcess


@pytest.fixture
def own_server(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess.start(tiny_checkpoint, tmp_path).wait()
    yield server
    server.stop()


def generated(server: ServerProcess) -> float:
    """Tokens that the engine gave so far."""
    lines = httpx.get(f"{server.url}/metrics", timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total{"))


def test_a_client_that_leaves_and_an_engine_that_dies(own_server: ServerProcess) -> None:
    assert httpx.get(f"{own_server.url}/ready", timeout=30).json() == {"status": "ready"}

    context = httpx.get(f"{own_server.url}/v1/models", timeout=30).json()["data"][0]["context_length"]
    asked = context - 200
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": asked, "ignore_eos": True}
    with httpx.stream("POST", f"{own_server.url}/v1/chat/completions", json=body | {"stream": True}) as stream:
        assert next(stream.iter_lines()).startswith("data: ")
    time.sleep(3)
    given = generated(own_server)
    assert given < asked
    time.sleep(2)
    assert generated(own_server) == given
    assert own_server.chat([{"role": "user", "content": "a"}]).status_code == 200

    children = psutil.Process(own_server.process.pid).children(recursive=True)
    (engine,) = [child for child in children if "EngineCore" in " ".join(child.cmdline())]
    engine.kill()
    assert own_server.process.wait(60) == ENGINE_DIED


def test_the_end_on_purpose(tiny_checkpoint: Path, tmp_path: Path) -> None:
    server = ServerProcess.start(tiny_checkpoint, tmp_path, "--grace-seconds", "1").wait()
    try:
        context = httpx.get(f"{server.url}/v1/models", timeout=30).json()["data"][0]["context_length"]
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "stream": True, "ignore_eos": True}
        body["max_tokens"] = context - 200
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("data: ")
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert httpx.get(f"{server.url}/ready", timeout=30).status_code == 503
            refused = server.chat([{"role": "user", "content": "a"}])
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            events = [line for line in lines if line]
        assert '"code": "server_ending"' in events[-2]
        assert events[-1] == "data: [DONE]"
        assert server.process.wait(60) == 0
    finally:
        server.stop()
