"""One decoding process as the server sees it: started with next to nothing, asked, killed.

Everything here blocks and belongs to one thread at a time; `server.media.pool` has the threads.
"""

import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from model.errors import MediaCostError, MediaError, MediaLimitError
from model.media import MediaLimits, Sound
from model.sight import Sight
from server.media.encoded import Encoded
from server.media.worker import MESSAGE, READY
from server.memory import keeping

# Importing what it needs takes a third of a second; a machine that is busy with a model's weights has other worries.
START_SECONDS = 60.0
# All a decoder may know of the server's environment: where its libraries are.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
# Bytes of memory that one keeps for the next medium: several copies of a usual picture.
KEPT = 64 << 20
_ROOT = Path(__file__).resolve().parents[2]
_ERRORS = {kind.code: kind for kind in (MediaError, MediaLimitError, MediaCostError)}


class StalledError(Exception):
    """A decoder neither answered nor used up its time: the machine has too much to do."""


class DecodingProcess:
    """A child process that decodes one medium at a time."""

    def __init__(self) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Threads would only wait for each other, and each takes address space.
        environment |= {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **keeping(KEPT)}
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "server.media.worker", str(other.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                env=environment,
            )
        self._ready = False

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Return when it can decode.

        Raises:
            RuntimeError: it did not start; standard error says why.
        """
        if self._ready:
            return
        self._channel.settimeout(START_SECONDS)
        if self._receive()[0] != READY:
            self.kill()
            raise RuntimeError("a decoding process did not start")
        self._ready = True

    def decode(
        self, medium: Encoded, limits: MediaLimits, seconds: float, patience: float, sight: Sight | None = None
    ) -> Image.Image | Sound:
        """Have a medium decoded.

        Args:
            medium: a picture or a sound.
            limits: what it may hold.
            seconds: of processor time that it may take.
            patience: seconds to wait for the answer.
            sight: how large a picture is needed; `info["pixels"]` of what is returned says how many it had.

        Raises:
            MediaError: it cannot be decoded, or not within its limits. The process may be gone.
            StalledError: no answer came. The process is gone.
        """
        self.wait_ready()
        self._channel.settimeout(patience)
        task: dict[str, Any] = {"modality": medium.modality, "seconds": seconds, "limits": asdict(limits)}
        task["sight"] = None if sight is None else asdict(sight)
        source = os.memfd_create("medium", os.MFD_CLOEXEC)
        try:
            view = memoryview(medium.data)
            while view:
                view = view[os.write(source, view) :]
            os.lseek(source, 0, os.SEEK_SET)
            socket.send_fds(self._channel, [json.dumps(task).encode()], [source])
        finally:
            os.close(source)
        try:
            message, result = self._receive()
        except TimeoutError:
            self.kill()
            raise StalledError from None
        if not message:
            raise self._ended(medium, seconds)
        try:
            return _decoded(json.loads(message), result)
        finally:
            if result is not None:
                os.close(result)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _receive(self) -> tuple[bytes, int | None]:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._channel, MESSAGE, 1)
        except ConnectionError:
            return b"", None
        return message, descriptors[0] if descriptors else None

    def _ended(self, medium: Encoded, seconds: float) -> MediaError:
        """Why it ended instead of answering."""
        status = self._process.wait()
        self._channel.close()
        what = "picture" if medium.modality == "image" else "sound"
        if status == -signal.SIGPROF:
            return MediaCostError(f"decoding the {what} takes more than {seconds:.1f} s; send a smaller one")
        if status == -signal.SIGKILL:
            return MediaCostError(f"decoding the {what} takes too much memory; send a smaller one")
        return MediaError(f"the {what} is damaged: its decoder crashed; send it again in another format")


def _decoded(answer: dict[str, Any], memory: int | None) -> Image.Image | Sound:
    """What a process answered; its sizes are compared with what it sent.

    Raises:
        MediaError: the answer was one.
    """
    if "error" in answer:
        raise _ERRORS.get(answer["code"], MediaError)(answer["error"])
    assert memory is not None
    if "size" in answer:
        width, height = answer["size"]
        with mmap.mmap(memory, 3 * width * height, prot=mmap.PROT_READ) as pixels:
            image = Image.frombytes("RGB", (width, height), pixels)  # type: ignore[arg-type]
        image.info["pixels"] = int(answer["pixels"])
        return image
    samples = np.empty(answer["samples"], np.float32)
    target = samples.data.cast("B")
    with os.fdopen(memory, "rb", buffering=0, closefd=False) as file:
        file.seek(0)
        while target:
            read = file.readinto(target)
            if not read:
                raise MediaError("the sound is damaged; send it again")
            target = target[read:]
    return Sound(samples, int(answer["rate"]))
