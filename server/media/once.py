"""A medium that was seen before is not decoded, prepared or encoded again, however it comes this time.

It is known by the sha256 of its file, together with whose request it is: what one key has sent says nothing to another
one, not even by how long the answer takes. The server makes these keys; no client can name a medium by one.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from model.errors import MediaError
from model.vllm_adapter.prepared import Keyed, PreparedCache
from server.files.stored import owner_of
from server.keys.key import Key
from server.media.encoded import Modality
from server.media.sent import send_once


def medium_key(owner: Key | None, modality: Modality, digest: str) -> str:
    """Under which all caches know a medium.

    Args:
        owner: whose request it is.
        modality: as what it is read.
        digest: sha256 of its file, hexadecimal.
    """
    return hashlib.sha256(f"{owner_of(owner)}\n{modality}\n{digest}".encode()).hexdigest()


class Once:
    """What need not be done again."""

    def __init__(self) -> None:
        self._cache: PreparedCache | None = None
        # Decoded and still in use: on their way to the cache.
        self._decoded: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._decoding: dict[str, asyncio.Future[Any]] = {}

    def use(self, cache: PreparedCache | None) -> None:
        """Ask this cache from now on; None for none."""
        self._cache = cache

    def known(self, key: str, modality: Modality) -> Keyed | None:
        """What stands for a medium of this key; None if it must be decoded."""
        held = None if self._cache is None else self._cache.prepared(key, modality)
        if held is not None:
            return Keyed(key, prepared=held)
        medium = self._decoded.get(key)
        return None if medium is None else Keyed(key, medium=medium)

    async def decoded(self, key: str, decode: Callable[[], Awaitable[Any]]) -> Keyed:
        """A medium of this key; of those who ask for it at the same time, one decodes it. Raises what `decode` does."""
        while (running := self._decoding.get(key)) is not None:
            await asyncio.wait((running,))
            # Who gave up, or was refused for its own sake, leaves it to the next one.
            if not running.cancelled():
                return Keyed(key, medium=running.result())
        running = self._decoding[key] = asyncio.get_running_loop().create_future()
        try:
            medium = await decode()
        except MediaError as error:
            running.set_exception(error)
            running.exception()  # perhaps nobody else waits for it
            raise
        except BaseException:
            running.cancel()
            raise
        finally:
            del self._decoding[key]
        running.set_result(medium)
        self._decoded[key] = medium
        return Keyed(key, medium=medium)


once = Once()


def decode_once(engine_client: Any) -> None:
    """Let all of vLLM's front end use one cache of prepared media, ask it before decoding, send from it once.

    vLLM has one for requests and one for counting, of which only the first has statistics.
    """
    renderer = engine_client.renderer
    cache = renderer.get_mm_processor().safe_cache(renderer.mm_processor_cache)
    if isinstance(cache, PreparedCache):
        renderer._mm_processor_cache = renderer._mm_processor_only_cache = cache
        once.use(cache)
        send_once(engine_client, cache)
