"""A real server process for tests: started, waited for, stopped by its own id, its log shown when it fails."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

QUARTET = Path(sys.executable).with_name("quartet")
START_SECONDS = 900.0
# Of the server that all tests share.
MAX_MEDIA = 10
MAX_BODY_BYTES = 8 * 1024 * 1024
BODY_TIMEOUT = 3
HEAD_TIMEOUT = 5
MAX_CONNECTIONS = 300
SHARED = (
    *("--max-media", str(MAX_MEDIA)),
    *("--max-body-bytes", str(MAX_BODY_BYTES)),
    *("--body-timeout", str(BODY_TIMEOUT)),
    *("--head-timeout", str(HEAD_TIMEOUT)),
    *("--max-connections", str(MAX_CONNECTIONS)),
    "--playground",
)


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class ServerProcess:
    """`quartet serve` as a child process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    model: str = "tiny"

    @classmethod
    def start(cls, checkpoint: Path, folder: Path, *flags: str) -> "ServerProcess":
        """Start the command a user would type; assemblies go to a cache inside `folder`."""
        port, log = free_port(), folder / "server.log"
        arguments = ["--model", str(checkpoint), "--port", str(port), "--name", "tiny", "--dtype", "float32"]
        own = {"QUARTET_CACHE": str(folder / "cache"), "QUARTET_FILES_DIR": str(folder / "files")}
        environment = os.environ | own | {"OMP_NUM_THREADS": "1"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(QUARTET), "serve", *arguments, *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        return cls(process, port, log)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> "ServerProcess":
        """Return once the server is ready; a failed start raises with the end of the log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.ready():
                return self
            time.sleep(0.25)
        self.stop()
        raise RuntimeError(f"the server did not start\n{self.tail()}")

    def healthy(self) -> bool:
        return self._answers("/health")

    def ready(self) -> bool:
        return self._answers("/ready")

    def _answers(self, path: str) -> bool:
        try:
            # Without the certificates of the web, which take longer to read than the answer.
            return httpx.get(f"{self.url}{path}", timeout=5, verify=False).status_code == 200
        except httpx.HTTPError:
            return False

    def chat(self, messages: Sequence[Any], **options: Any) -> httpx.Response:
        """One chat completion, greedy and 8 tokens long unless told otherwise."""
        body = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": 8, **options}
        return httpx.post(f"{self.url}/v1/chat/completions", json=body, timeout=120)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-8000:]

    def memory(self) -> int:
        """Proportional set size of all its processes, bytes."""
        server = psutil.Process(self.process.pid)
        return sum(part.memory_full_info().pss for part in [server, *server.children(recursive=True)])

    def stop(self) -> None:
        """Ask it to end, then make it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
