"""Decoding in processes: the same media as in this one, and what a hostile one costs."""

import asyncio
import io
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from model.errors import MediaCostError, MediaError, MediaLimitError
from model.media import MediaLimits, Sound, decode_audio, decode_image
from model.sight import Sight
from server.errors import RefusedError
from server.media.encoded import Encoded
from server.media.pool import DecodePool
from server.media.worker import BYTES_PER_PIXEL, ROOM

LIMITS = MediaLimits()
# Of processor time: decoding `slow()` takes several times as much anywhere.
SHORT = 0.02


def picture(size: tuple[int, int] = (60, 7), mode: str = "RGB", kind: str = "PNG") -> Encoded:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(file, kind)
    return Encoded(file.getvalue(), "image")


def sound(samples: np.ndarray | None = None, rate: int = 8000) -> Encoded:
    samples = np.random.default_rng(0).uniform(-1, 1, 999).astype(np.float32) if samples is None else samples
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return Encoded(file.getvalue(), "audio")


def slow() -> Encoded:
    """Twenty-five million pixels in a few kilobytes."""
    file = io.BytesIO()
    Image.new("LA", (5000, 5000)).save(file, "PNG")
    return Encoded(file.getvalue(), "image")


@pytest.fixture(scope="module")
def shared() -> Iterator[DecodePool]:
    pool = DecodePool(workers=1)
    pool.start()
    yield pool
    pool.close()


@pytest.fixture
async def hasty() -> AsyncIterator[DecodePool]:
    """One process, room for one that waits, and hardly any time."""
    pool = DecodePool(workers=1, waiting=1, seconds=SHORT)
    pool.start()
    yield pool
    pool.close()


# The middle one takes several strips.
@pytest.mark.parametrize("size", [(1, 1), (500, 1500), (400_000, 2)])
async def test_a_picture_is_the_one_decoded_here(shared: DecodePool, size: tuple[int, int]) -> None:
    encoded = picture(size, "RGBA")
    image = await shared.decode(encoded, LIMITS)
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", size)
    assert image.tobytes() == decode_image(encoded.data).tobytes()


async def test_a_large_picture_comes_at_the_size_at_which_it_is_seen() -> None:
    sight = Sight(size=50, rounding="down")
    seeing = DecodePool(workers=1, sight=sight)
    seeing.start()
    try:
        for size, wanted in (((333, 250), (66, 50)), ((333, 99), (333, 99))):
            encoded = picture(size, "RGBA")
            image = await seeing.decode(encoded, LIMITS)
            assert isinstance(image, Image.Image)
            whole = decode_image(encoded.data)
            assert (image.size, image.info["pixels"]) == (wanted, size[0] * size[1])
            assert image.tobytes() == (whole if wanted == size else sight.of(whole)).tobytes()
    finally:
        seeing.close()


async def test_a_sound_is_the_one_decoded_here(shared: DecodePool) -> None:
    encoded = sound()
    decoded = await shared.decode(encoded, LIMITS)
    assert isinstance(decoded, Sound)
    assert decoded.sampling_rate == 8000
    np.testing.assert_array_equal(decoded.samples, decode_audio(encoded.data).samples)
    assert decoded.samples.flags.writeable


@pytest.mark.parametrize(
    ("encoded", "limits", "kind"),
    [
        (Encoded(b"GIF89a? no", "image"), LIMITS, MediaError),
        (picture((60, 7)), MediaLimits(max_pixels=419), MediaLimitError),
        (sound(), MediaLimits(max_seconds=0.1), MediaLimitError),
        (sound(np.array([0, np.nan], np.float32)), LIMITS, MediaError),
    ],
)
async def test_a_refusal_is_the_one_given_here(
    shared: DecodePool, encoded: Encoded, limits: MediaLimits, kind: type[MediaError]
) -> None:
    decode = decode_image if encoded.modality == "image" else decode_audio
    with pytest.raises(kind) as here:
        decode(encoded.data, limits)
    with pytest.raises(kind) as there:
        await shared.decode(encoded, limits)
    assert (str(there.value), there.value.code) == (str(here.value), here.value.code)
    assert len(shared.pids()) == 1


async def test_what_takes_too_long_costs_one_process(hasty: DecodePool) -> None:
    (first,) = await _ready(hasty)
    bomb = slow()
    assert len(bomb.data) < 60_000
    with pytest.raises(MediaCostError, match="takes more than") as raised:
        await hasty.decode(bomb, LIMITS)
    assert raised.value.code == "media_too_expensive"
    assert isinstance(await hasty.decode(sound(), LIMITS), Sound)
    assert len(hasty.pids()) == 1
    assert hasty.pids() != {first.pid}


async def test_time_is_that_of_the_processor(shared: DecodePool) -> None:
    """A machine with too much to do is no reason to refuse a medium."""
    (process,) = await _ready(shared)
    process.suspend()
    decoding = asyncio.ensure_future(shared.decode(picture(), LIMITS))
    await asyncio.sleep(shared.seconds_for(picture()) + 0.5)
    assert not decoding.done()
    process.resume()
    assert await decoding is not None


async def test_a_process_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch, hasty: DecodePool) -> None:
    monkeypatch.setattr("server.media.pool.PATIENCE", 0.3)
    (process,) = await _ready(hasty)
    process.suspend()
    with pytest.raises(RefusedError) as raised:
        await hasty.decode(picture(), LIMITS)
    assert (raised.value.error.status, raised.value.error.code) == (503, "media_overloaded")
    monkeypatch.undo()
    assert await hasty.decode(picture(), LIMITS) is not None


def wide_tile(side: int = 16_000) -> Encoded:
    """A TIFF picture of 10 by 10 pixels, in one tile of hundreds of megabytes."""
    # As long as a tile of this size may be; libtiff refuses less.
    pixels = zlib.compress(bytes(3 * 100)).ljust(1 << 20, b"\0")
    numbers = {256: 10, 257: 10, 258: 8, 259: 8, 262: 2, 277: 3, 322: side, 323: side, 325: len(pixels)}
    tags = numbers | {324: 8 + 2 + 12 * (len(numbers) + 1) + 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + pixels
    return Encoded(data, "image")


async def test_what_takes_too_much_memory(shared: DecodePool) -> None:
    (process,) = await _ready(shared)
    before = process.memory_info().vms
    bomb = wide_tile()
    with pytest.raises(MediaError):
        await shared.decode(bomb, MediaLimits(max_pixels=1000))
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = int(status.partition("VmPeak:")[2].split()[0]) << 10
    assert peak <= before + ROOM + 2 * len(bomb.data) + 1000 * BYTES_PER_PIXEL
    # The limit is that of one medium.
    assert await shared.decode(picture((2000, 2000)), LIMITS) is not None
    assert shared.pids() == {process.pid}


async def test_a_decoder_that_crashes(shared: DecodePool) -> None:
    (process,) = await _ready(shared)
    process.suspend()
    decoding = asyncio.ensure_future(shared.decode(picture(), LIMITS))
    await asyncio.sleep(0.2)
    process.send_signal(signal.SIGSEGV)
    process.resume()
    with pytest.raises(MediaError, match="its decoder crashed") as raised:
        await decoding
    assert raised.value.code == "invalid_media"
    assert await shared.decode(picture(), LIMITS) is not None


async def test_a_process_that_died_between_two_media(shared: DecodePool) -> None:
    (process,) = await _ready(shared)
    process.kill()
    process.wait(10)
    assert await shared.decode(picture(), LIMITS) is not None


async def test_only_so_many_wait(hasty: DecodePool) -> None:
    (process,) = await _ready(hasty)
    process.suspend()
    decoding = [asyncio.ensure_future(hasty.decode(picture(), LIMITS)) for _ in range(2)]
    await asyncio.sleep(0.1)
    with pytest.raises(RefusedError) as raised:
        await hasty.decode(picture(), LIMITS)
    error = raised.value.error
    assert (error.status, error.code) == (503, "media_overloaded")
    assert (b"retry-after", b"2") in error.headers()
    process.resume()
    assert all(await asyncio.gather(*decoding))
    assert await hasty.decode(picture(), LIMITS) is not None


async def test_what_is_not_wanted_any_more_is_not_decoded(hasty: DecodePool) -> None:
    (process,) = await _ready(hasty)
    assert await hasty.decode(slow(), LIMITS, wanted=lambda: False) is None
    assert hasty.pids() == {process.pid}


async def test_nothing_is_left_open(shared: DecodePool) -> None:
    media = [picture(), sound(), Encoded(b"GIF89a? no", "image")]

    async def all_of_them() -> None:
        for encoded in media:
            with suppress(MediaError):
                await shared.decode(encoded, LIMITS)

    await all_of_them()
    (process,) = await _ready(shared)
    await asyncio.sleep(0.2)
    before = psutil.Process().num_fds(), process.num_fds()
    for _ in range(5):
        await all_of_them()
    # It closes what it sent after it is received.
    await asyncio.sleep(0.2)
    assert (psutil.Process().num_fds(), process.num_fds()) == before


async def test_a_decoder_knows_little(shared: DecodePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTET_API_KEY", "secret")
    pool = DecodePool(workers=1)
    pool.start()
    assert await pool.decode(picture(), LIMITS) is not None
    (newest,) = await _ready(pool)
    assert set(newest.environ()) <= {
        *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR"),
        *("PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LC_CTYPE"),
        *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
    }
    libraries = Path(f"/proc/{newest.pid}/maps").read_text()
    assert "libsndfile" in libraries
    assert "libtorch" not in libraries
    pool.close()
    newest.wait(10)


PARENT = """
import asyncio, time
from server.media.encoded import Encoded
from server.media.pool import DecodePool
from server.media.worker import BYTES_PER_PIXEL, ROOM
from tests.server.media.test_pool import LIMITS, picture, slow

async def main():
    pool = DecodePool(workers=2, seconds=100)
    pool.start()
    await asyncio.gather(*(pool.decode(picture(), LIMITS) for _ in range(2)))
    print(*pool.pids(), flush=True)
    await asyncio.gather(*(pool.decode(slow(), LIMITS) for _ in range(200)))

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_server(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.3)
    os.kill(parent.pid, number)
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()


async def _ready(pool: DecodePool) -> list[psutil.Process]:
    """The processes, once they are there."""
    assert await pool.decode(sound(), LIMITS) is not None
    return [psutil.Process(pid) for pid in pool.pids()]
