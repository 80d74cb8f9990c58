"""A real S3 service for tests: OpenStack Swift with its S3 API, where Debian's `python3-swift` is installed."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from server.files.s3 import S3Objects

PYTHON = Path("/usr/bin/python3")
SCRIPT = Path(__file__).with_name("swift_server.py")
PACKAGE = Path("/usr/lib/python3/dist-packages/swift")
MISSING = "needs OpenStack Swift: apt-get install python3-swift"
ACCESS, SECRET, BUCKET = "test:tester", "testing", "files"
PATIENCE = 120.0


def installed() -> bool:
    """Whether it can be started here."""
    return PYTHON.exists() and PACKAGE.is_dir()


@dataclass
class Swift:
    """The service as a child process, its data in a folder."""

    folder: Path
    port: int = 0
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "Swift":
        """Start it, on the same port as before if there was one, and make the bucket."""
        self.folder.mkdir(parents=True, exist_ok=True)
        told = self.folder / "port"
        with told.open("wb") as output, (self.folder / "log").open("ab") as log:
            command = [str(PYTHON), "-P", str(SCRIPT), str(self.folder), str(self.port)]
            # Nothing of our environment, nor of this folder, belongs into Debian's Python.
            self.process = subprocess.Popen(command, stdout=output, stderr=log, env={"PATH": os.defpath})
        deadline = time.monotonic() + PATIENCE
        while not told.read_bytes().endswith(b"\n"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError((self.folder / "log").read_text()[-4000:])
            time.sleep(0.05)
        self.port = int(told.read_bytes())
        login = {"x-storage-user": ACCESS, "x-storage-pass": SECRET}
        answer = httpx.get(f"{self.url}/auth/v1.0", headers=login, timeout=30)
        token = {"x-auth-token": answer.headers["x-auth-token"]}
        httpx.put(f"{self.url}/v1/AUTH_test/{BUCKET}", headers=token, timeout=30).raise_for_status()
        return self

    def stop(self) -> None:
        """Gone at once, as by a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def objects(self, prefix: str) -> S3Objects:
        """A place in its bucket."""
        return S3Objects(f"s3://{BUCKET}/{prefix}", self.url, credentials=(ACCESS, SECRET))

    def settings(self, prefix: str) -> dict[str, Any]:
        """The settings of a server that uses it."""
        return {
            "files_url": f"s3://{BUCKET}/{prefix}",
            "files_endpoint": self.url,
            "files_access_key": ACCESS,
            "files_secret_key": SECRET,
        }
