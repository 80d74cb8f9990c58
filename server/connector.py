"""How media reach the engine: read by the resolver of their address, decoded by `model.media`, within limits.

Registered with vLLM as media connector `quartet` and chosen by `VLLM_MEDIA_CONNECTOR`. Decoding runs in a small pool of
threads, off the event loop; the bytes of a data URL are unpacked there too.
"""

import asyncio
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector, MediaWithBytes

from model.errors import MediaError
from model.media import Sound, decode_audio, decode_data_url, decode_image
from server.exchange import current_exchange
from server.resolvers import DataUrls, resolver_of
from server.settings import current

NAME = "quartet"
T = TypeVar("T")

_pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2), thread_name_prefix="media")


class QuartetConnector(MediaConnector):
    """Decodes what `server.resolvers` can read; everything else is refused with HTTP 400."""

    def fetch_image(self, image_url: str, *, image_mode: str | None = "RGB") -> Any:
        """The RGB picture of a data URL with its file's bytes, which identify it in the caches."""
        return _inline(image_url, _image)

    async def fetch_image_async(self, image_url: str, *, image_mode: str | None = "RGB") -> Any:
        """The same for any address, off the event loop."""
        return await _fetch(image_url, _image)

    def fetch_audio(self, audio_url: str) -> Any:
        """The sound of a data URL with its own sampling rate."""
        return _inline(audio_url, _sound)

    async def fetch_audio_async(self, audio_url: str) -> Any:
        """The same for any address, off the event loop."""
        return await _fetch(audio_url, _sound)

    def load_from_url(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium."""
        raise VLLMValidationError("this server takes pictures and sounds only", parameter="messages")

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium."""
        return self.load_from_url(url, media_io)


def register_connector() -> None:
    """Make the connector known to vLLM; calling it again changes nothing."""
    MEDIA_CONNECTOR_REGISTRY.register(NAME)(QuartetConnector)


async def _fetch(url: str, decode: Callable[[bytes], T]) -> T:
    """Read and decode a medium; why it failed is left in the exchange, whose middleware knows the part."""
    run = asyncio.get_running_loop().run_in_executor
    try:
        resolver = resolver_of(url)
        if isinstance(resolver, DataUrls):
            medium = await run(_pool, lambda: decode(decode_data_url(url)))
        else:
            medium = await run(_pool, decode, await resolver.read(url))
    except MediaError as error:
        current_exchange().failures[url] = error
        raise VLLMValidationError(str(error), parameter="messages") from None
    for gate in current_exchange().media_gates:
        await gate(*_size(medium))
    return medium


def _size(medium: Any) -> tuple[str, int]:
    """Modality, and pixels or begun seconds."""
    if isinstance(medium, MediaWithBytes):
        return "image", medium.media.width * medium.media.height
    return "audio", math.ceil(medium.seconds)


def _inline(url: str, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(decode_data_url(url))
    except MediaError as error:
        raise VLLMValidationError(str(error), parameter="messages") from None


def _image(data: bytes) -> Any:
    return MediaWithBytes(decode_image(data, current().media_limits), data)


def _sound(data: bytes) -> Sound:
    return decode_audio(data, current().media_limits)
