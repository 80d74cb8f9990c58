"""How media reach the engine: read by the resolver of their address, decoded by `server.media`, within limits.

Registered with vLLM as media connector `quartet` and chosen by `VLLM_MEDIA_CONNECTOR`. Nothing of it runs on the event
loop: the bytes of a data URL are unpacked by threads, everything is decoded by processes of its own.
"""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

from model.errors import MediaError
from model.media import Sound, decode_data_url
from model.vllm_adapter.prepared import Keyed
from server.exchange import current_exchange
from server.media.encoded import Encoded, Modality
from server.media.limits import media_limits
from server.media.once import medium_key, once
from server.media.pool import decode_pool
from server.metrics.media import Reading, reading
from server.resolvers import DataUrls, KnowsDigest, resolver_of

NAME = "quartet"

_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="media")


class QuartetConnector(MediaConnector):
    """Decodes what `server.resolvers` can read; everything else is refused with HTTP 400."""

    async def fetch_image_async(self, image_url: str, *, image_mode: str | None = "RGB") -> Any:
        """An RGB picture, or what stands for it."""
        return await _fetch(image_url, "image")

    async def fetch_audio_async(self, audio_url: str) -> Any:
        """A sound with its own sampling rate, or what stands for it."""
        return await _fetch(audio_url, "audio")

    def load_from_url(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium, and any other way: vLLM's API server asks for media as above only."""
        raise VLLMValidationError("this server takes pictures and sounds only", parameter="messages")

    async def load_from_url_async(self, url: str, media_io: Any, **kwargs: Any) -> Any:
        """Refuse any other kind of medium."""
        return self.load_from_url(url, media_io)


def register_connector() -> None:
    """Make the connector known to vLLM; calling it again changes nothing."""
    MEDIA_CONNECTOR_REGISTRY.register(NAME)(QuartetConnector)


async def _fetch(url: str, modality: Modality) -> Keyed:
    """Read and decode a medium that is new; why it failed is left in the exchange, whose middleware knows the part."""
    with reading(modality, url) as counted:
        try:
            return await _find(url, modality, counted)
        except MediaError as error:
            current_exchange().failures[url] = error
            raise VLLMValidationError(str(error), parameter="messages") from None


async def _find(url: str, modality: Modality, counted: Reading) -> Keyed:
    """The medium, or what stands for one that the engine knows already."""
    exchange, resolver = current_exchange(), resolver_of(url)
    encoded: Encoded | None = None
    if isinstance(resolver, KnowsDigest):
        digest = await resolver.digest(url)
    else:
        encoded = await _read(url, modality, counted)
        digest = encoded.digest
    key = medium_key(exchange.key, modality, digest)
    known = once.known(key, modality)
    if known is not None:
        counted.known()
        return known
    decoded_here = False

    async def decode() -> Image.Image | Sound:
        nonlocal decoded_here
        decoded_here = True
        medium = await _decode(encoded or await _read(url, modality, counted), counted)
        for gate in exchange.media_gates:
            await gate(*_size(medium))
        return medium

    medium = await once.decoded(key, decode)
    if not decoded_here:
        counted.known()
    return medium


async def _read(url: str, modality: Modality, counted: Reading) -> Encoded:
    """The bytes, and their hash where it is not known."""
    run = asyncio.get_running_loop().run_in_executor
    resolver = resolver_of(url)
    if isinstance(resolver, DataUrls):
        encoded = await run(_threads, lambda: _hashed(decode_data_url(url), modality))
        counted.fetched(len(encoded.data))
        return encoded
    began = time.perf_counter()
    data = await resolver.read(url)
    counted.fetched(len(data), time.perf_counter() - began)
    if isinstance(resolver, KnowsDigest):
        return Encoded(data, modality)
    return await run(_threads, lambda: _hashed(data, modality))


def _hashed(data: bytes, modality: Modality) -> Encoded:
    encoded = Encoded(data, modality)
    # Here, so that the event loop need not: it is kept.
    _ = encoded.digest
    return encoded


async def _decode(encoded: Encoded, counted: Reading) -> Image.Image | Sound:
    exchange, limits = current_exchange(), media_limits()
    encoded.check(limits)
    # The engine waits for all media of a request; once one of them is refused, the others would be work for nobody.
    medium = await decode_pool().decode(encoded, limits, wanted=lambda: not exchange.failures, took=counted.decoded)
    if medium is None:
        counted.abandoned()
        raise VLLMValidationError("another medium of the request was refused", parameter="messages")
    return medium


def _size(medium: Image.Image | Sound) -> tuple[str, int]:
    """Modality, and pixels or begun seconds."""
    if isinstance(medium, Sound):
        return "audio", math.ceil(medium.seconds)
    # It may be smaller now.
    return "image", medium.info.get("pixels", medium.width * medium.height)
