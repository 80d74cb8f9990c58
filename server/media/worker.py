"""A decoding process: takes one medium after the other from a socket until its other end is closed.

Run as `python -m server.media.worker FD`. One message is one datagram of JSON with one file descriptor beside it: the
bytes of the medium in, its pixels or samples out. Both are anonymous memory (`memfd`), which has no name that could be
left behind. It imports `model.media` and what that needs; its environment holds no secrets (`server.media.process`).

Limits are the kernel's, so that they hold inside of a decoder's C code: processor time by a timer that kills, memory by
the size of the address space.
"""

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
from typing import Any

import numpy as np
from PIL import Image

from model.errors import MediaCostError, MediaError
from model.media import MAX_SAMPLING_RATE, MediaLimits, Sound, decode_audio, decode_image
from model.sight import Sight, shrink

# A message never holds more than a few numbers or an error's text.
MESSAGE = 4096
READY = b"ready"
# Of address space: decoded, converted to RGBA, upright, laid on white, to RGB, and what is sent.
BYTES_PER_PIXEL = 32
# One channel as it is read, joined, checked, and what is sent, float32.
BYTES_PER_SAMPLE = 20
# For everything that does not grow with the medium.
ROOM = 128 << 20
# Rows of a picture are copied about so many bytes at a time.
STRIP = 1 << 20
_PR_SET_PDEATHSIG = 1


def main(descriptor: int) -> None:
    """Serve until the other end of the socket is closed."""
    _die_with_parent()
    channel = socket.socket(fileno=descriptor)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Sent to a whole group of processes, they are meant for the server, which may still need us while it drains.
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _load_decoders()
    channel.send(READY)
    # Libraries write what they find in hostile files to where the server's log is.
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE, 1)
        if not message:
            return
        answer, result = _work(json.loads(message), descriptors[0])
        socket.send_fds(channel, [json.dumps(answer).encode()], [] if result is None else [result])
        if result is not None:
            os.close(result)


def _work(task: dict[str, Any], source: int) -> tuple[dict[str, Any], int | None]:
    """The answer to one message, and the memory that holds the decoded medium."""
    limits = MediaLimits(**task["limits"])
    with os.fdopen(source, "rb", buffering=0) as file:
        data = file.read()
    try:
        _limit_memory(task["modality"], len(data), limits)
        signal.setitimer(signal.ITIMER_PROF, task["seconds"])
        try:
            if task["modality"] == "image":
                picture = decode_image(data, limits)
                pixels = picture.width * picture.height
                answer, memory = _send_picture(shrink(picture, Sight(**task["sight"]) if task["sight"] else None))
                return answer | {"pixels": pixels}, memory
            return _send_sound(decode_audio(data, limits))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except MediaError as error:
        return {"error": str(error), "code": error.code}, None
    # Beside decoding: there was no room for what would be sent.
    except MemoryError:
        return {"error": "the medium takes too much memory; send a smaller one", "code": MediaCostError.code}, None


def _send_picture(image: Image.Image) -> tuple[dict[str, Any], int]:
    target = os.memfd_create("picture", os.MFD_CLOEXEC)
    rows = max(1, STRIP // (3 * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        _write(target, strip.tobytes())
    return {"size": image.size}, target


def _send_sound(sound: Sound) -> tuple[dict[str, Any], int]:
    target = os.memfd_create("sound", os.MFD_CLOEXEC)
    _write(target, sound.samples.data.cast("B"))
    return {"samples": len(sound.samples), "rate": sound.sampling_rate}, target


def _write(target: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def _limit_memory(modality: str, size: int, limits: MediaLimits) -> None:
    if modality == "image":
        most = limits.max_pixels * BYTES_PER_PIXEL
    else:
        most = int(limits.max_seconds * MAX_SAMPLING_RATE) * BYTES_PER_SAMPLE
    with open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM + 2 * size + most, resource.RLIM_INFINITY))


def _die_with_parent() -> None:
    """Ask for SIGKILL when the server dies, whatever it dies of; a closed socket ends only a process that reads it."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _load_decoders() -> None:
    """Before the first medium: its time is for decoding."""
    import av  # noqa: F401
    import soundfile  # noqa: F401

    Image.preinit()
    np.zeros(1, np.float32).mean()


if __name__ == "__main__":
    main(int(sys.argv[1]))
