"""How media reach the engine: decoded by `model.media`, within limits, from data URLs only.

Registered with vLLM as media connector `quartet` and chosen by `VLLM_MEDIA_CONNECTOR`. Remote and local URLs are
refused: fetching what a client names from inside the operator's network needs a policy, which is a feature of its own.
Decoding runs in a small pool of threads, off the event loop.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector, MediaWithBytes

from model.errors import MediaError
from model.media import Sound, decode_audio, decode_data_url, decode_image
from server.failures import Failures, failures
from server.settings import current

NAME = "quartet"
T = TypeVar("T")

_pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2), thread_name_prefix="media")


class DataUrlConnector(MediaConnector):
    """Decodes data URLs; everything else is refused with HTTP 400."""

    def fetch_image(self, image_url: str, *, image_mode: str | None = "RGB") -> Any:
        """The RGB picture with its file's bytes, which identify it in the caches."""
        return _checked(image_url, _read_image)

    async def fetch_image_async(self, image_url: str, *, image_mode: str | None = "RGB") -> Any:
        """The same, off the event loop."""
        return await _in_pool(image_url, _read_image)

    def fetch_audio(self, audio_url: str) -> Any:
        """The sound with its own sampling rate."""
        return _checked(audio_url, _read_audio)

    async def fetch_audio_async(self, audio_url: str) -> Any:
        """The same, off the event loop."""
        return await _in_pool(audio_url, _read_audio)

    def load_from_url(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium."""
        raise VLLMValidationError("this server takes pictures and sounds only", parameter="messages")

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium."""
        return self.load_from_url(url, media_io)


def register_connector() -> None:
    """Make the connector known to vLLM; calling it again changes nothing."""
    MEDIA_CONNECTOR_REGISTRY.register(NAME)(DataUrlConnector)


async def _in_pool(url: str, read: Callable[[str], T]) -> T:
    # Not the context itself: what fails in the thread is recorded in the request's own mapping.
    record = failures.get()
    return await asyncio.get_running_loop().run_in_executor(_pool, _checked, url, read, record)


def _checked(url: str, read: Callable[[str], T], record: Failures | None = None) -> T:
    try:
        return read(url)
    except MediaError as error:
        if record is not None:
            record[url] = error
        raise VLLMValidationError(str(error), parameter="messages") from None


def _read_image(url: str) -> Any:
    data = _bytes(url)
    return MediaWithBytes(decode_image(data, current().media_limits), data)


def _read_audio(url: str) -> Sound:
    return decode_audio(_bytes(url), current().media_limits)


def _bytes(url: str) -> bytes:
    scheme = url.partition(":")[0][:16].lower()
    if scheme != "data":
        raise MediaError(f"{scheme!r} URLs are not fetched; send the bytes as data:<type>;base64,<bytes>")
    return decode_data_url(url)
