"""The proxy of docker/nginx.conf in front of two real servers: streams, files, and restarts that nobody notices."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.settings import ServerSettings
from tests.support.deploy import program
from tests.support.reference import image, text, user
from tests.support.scripts import ROOT
from tests.support.serving import ServerProcess, free_port
from tests.support.tiny import picture_bytes

CONFIGURATION = ROOT / "docker" / "nginx.conf"


def rendered(folder: Path, port: int, servers: list[int]) -> Path:
    """The file as it is shipped, but for addresses and the folder of temporary files."""
    content = CONFIGURATION.read_text()
    for number, server in enumerate(servers):
        # Debian's nginx is too old for `resolve`, and there are no names to resolve here.
        assert f"server replica-{number}:8000 resolve " in content
        content = content.replace(f"server replica-{number}:8000 resolve ", f"server 127.0.0.1:{server} ")
    content, names = re.subn(r"^    resolver .*\n", "", content, flags=re.M)
    assert names == 1
    content = content.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/tmp/", f"{folder}/")
    if os.geteuid() == 0:
        content = "user root;\n" + content
    path = folder / "nginx.conf"
    path.write_text(content)
    return path


@dataclass
class Proxied:
    """Two servers, which share a folder of files, and the proxy."""

    folder: Path
    checkpoint: Path
    servers: list[ServerProcess] = field(default_factory=list)
    proxy: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def begin(self, number: int, port: int | None = None) -> ServerProcess:
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        flags = ["--files-dir", str(self.folder / "shared"), "--grace-seconds", "120"]
        server = ServerProcess.start(self.checkpoint, folder, *flags, *(["--port", str(port)] if port else []))
        server.port = port or server.port
        return server

    def start(self) -> None:
        nginx = program("nginx", "nginx-light")
        self.servers = [self.begin(number) for number in range(2)]
        for server in self.servers:
            server.wait()
        self.port = free_port()
        path = rendered(self.folder, self.port, [server.port for server in self.servers])
        with (self.folder / "nginx.log").open("wb") as log:
            self.proxy = subprocess.Popen(
                [nginx, "-c", str(path), "-g", "daemon off;"], stdout=log, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/proxy-health")
                return
            except httpx.TransportError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "nginx.log").read_text())

    def stop(self) -> None:
        if self.proxy is not None:
            self.proxy.terminate()
            self.proxy.wait(30)
        for server in self.servers:
            server.stop()


@pytest.fixture(scope="module")
def proxied(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    place = Proxied(tmp_path_factory.mktemp("proxied"), tiny_checkpoint)
    try:
        place.start()
        yield place
    finally:
        place.stop()


def body(words: str = "a", **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [user(text(words))], "temperature": 0, "max_tokens": 16, **more}


def stream(url: str, request: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of a streamed answer, and its events."""
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=request | options, timeout=300) as response:
        assert response.status_code == 200, response.read()
        events = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    chunks = [json.loads(event) for event in events[:-1]]
    assert not [chunk for chunk in chunks if "error" in chunk]
    parts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    return "".join(parts), events


def pieces(url: str, request: dict[str, Any]) -> int:
    """In how many pieces a stream arrives."""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=request | {"stream": True}, timeout=300) as response:
        assert response.status_code == 200
        return sum(1 for _ in response.iter_raw())


def test_the_configuration_agrees_with_the_server_and_with_nginx(tmp_path: Path) -> None:
    content = CONFIGURATION.read_text()
    (limit,) = re.findall(r"client_max_body_size (\d+);", content)
    assert int(limit) == ServerSettings().max_body_bytes
    assert "proxy_buffering off;" in content
    assert "non_idempotent" not in re.sub(r"#.*", "", content)
    for answer in re.findall(r"return \d+ '(\{.*\})';", content):
        assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}
    nginx = program("nginx", "nginx-light")
    done = subprocess.run(
        [nginx, "-t", "-c", str(rendered(tmp_path, free_port(), [1, 2]))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_streams_are_whole_and_come_as_they_are_made(proxied: Proxied) -> None:
    request = body("Compare the two images.", max_tokens=64, ignore_eos=True)
    direct = [stream(server.url, request)[0] for server in proxied.servers]
    told, events = stream(proxied.url, request)
    assert [told, told] == direct
    assert len(events) > 30
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 64

    # Twenty events are less than a proxy that collects would wait for.
    assert max(pieces(proxied.url, body(max_tokens=18, ignore_eos=True)) for _ in range(3)) > 5


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_file_is_known_to_both_servers(proxied: Proxied) -> None:
    data = picture_bytes(3)
    uploaded = httpx.post(
        f"{proxied.url}/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", data)}, timeout=60
    )
    assert uploaded.status_code == 200, uploaded.text
    name = uploaded.json()["id"]
    part = {"type": "file", "file": {"file_id": name}}
    answers = set()
    for server in proxied.servers:
        assert httpx.get(f"{server.url}/v1/files/{name}/content", timeout=60).content == data
        for medium in (part, image(data=data)):
            answer = server.chat([user(text("What do you see? "), medium)])
            assert answer.status_code == 200, answer.text
            assert answer.json()["usage"]["prompt_tokens_details"]["image_tokens"] == 4
            answers.add(answer.json()["choices"][0]["message"]["content"])
    assert len(answers) == 1


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_what_the_proxy_answers_itself(proxied: Proxied) -> None:
    hidden = httpx.get(f"{proxied.url}/metrics")
    assert (hidden.status_code, hidden.json()["error"]["code"]) == (404, "not_found")
    # Only announced, not sent: the size alone is enough to refuse.
    size = ServerSettings().max_body_bytes + 1
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxied.port), timeout=60) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert json.loads(answer.partition("\r\n\r\n")[2])["error"]["code"] == "request_too_large"


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_rolling_restart_under_load_loses_nothing(proxied: Proxied) -> None:
    """Both servers are replaced, one after the other, while four clients ask on, and never twice."""
    expected = {words: stream(proxied.url, body(words))[0] for words in ("a", "b", "c", "d")}
    stop, failures, answered = threading.Event(), [], [0, 0]

    def client(words: str) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                if turn % 2:
                    told, events = stream(proxied.url, body(words))
                    assert events[-1] == "[DONE]"
                else:
                    answer = httpx.post(f"{proxied.url}/v1/chat/completions", json=body(words), timeout=300)
                    assert answer.status_code == 200, answer.text
                    told = answer.json()["choices"][0]["message"]["content"]
                assert told == expected[words]
                answered[turn % 2] += 1
            except Exception as error:
                failures.append(repr(error)[:300])

    clients = [threading.Thread(target=client, args=(words,)) for words in expected]
    for thread in clients:
        thread.start()
    counts = []
    try:
        for number, server in enumerate(proxied.servers):
            time.sleep(2)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(120) == 0
            counts.append(sum(answered))
            proxied.servers[number] = proxied.begin(number, server.port).wait()
            counts.append(sum(answered))
        time.sleep(2)
    finally:
        stop.set()
        for thread in clients:
            thread.join()
    assert failures == []
    # While each server was away the other one answered, streams and whole answers alike.
    assert counts == sorted(counts)
    assert counts[1] > counts[0]
    assert counts[3] > counts[2]
    assert min(answered) > 10
    for server in proxied.servers:
        served = httpx.get(f"{server.url}/metrics", timeout=60).text
        assert re.search(r"^vllm:request_success_total\{.*\} [1-9]", served, re.M)
    print(f"answered {sum(answered)} requests, {answered[1]} of them streams; none lost")
