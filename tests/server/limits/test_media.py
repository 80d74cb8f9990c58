"""What a decoded medium says of its size to the limits."""

import base64
import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from server.connector import QuartetConnector
from server.errors import RefusedError, refuse
from server.exchange import Exchange, begin, current_exchange


def data_url(data: bytes) -> str:
    return f"data:;base64,{base64.b64encode(data).decode()}"


def picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (60, 7)).save(file, "PNG")
    return data_url(file.getvalue())


def sound(seconds: float) -> str:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(int(8000 * seconds), np.float32), 8000, format="WAV")
    return data_url(file.getvalue())


async def test_pixels_and_begun_seconds() -> None:
    told: list[tuple[str, int]] = []

    async def gate(modality: str, size: int) -> None:
        told.append((modality, size))

    begin(Exchange(request_id="", media_gates=[gate]))
    connector = QuartetConnector()
    await connector.fetch_image_async(picture())
    await connector.fetch_audio_async(sound(1.25))
    assert told == [("image", 420), ("audio", 2)]


async def test_what_the_limits_refuse_is_refused() -> None:
    async def gate(modality: str, size: int) -> None:
        raise refuse(429, "no")

    begin(Exchange(request_id="", media_gates=[gate]))
    with pytest.raises(RefusedError, match="no"):
        await QuartetConnector().fetch_image_async(picture())
    assert not current_exchange().failures
