"""What was prepared for the encoders crosses into the engine's process once, not with every request that uses it.

The engine keeps what it was sent, in the order of use, and drops the oldest; here the same cache is kept without its
contents, so that what the engine still holds is known without asking. vLLM does that too, but when a request is
rendered: one that is then refused never arrives, and whoever sends the same medium next is told to try again. Here it
is done when nothing can refuse a request any more, in the order in which the engine will read them.
"""

import dataclasses
import threading
from typing import Any

from vllm.multimodal.cache.factories import engine_receiver_cache_from_config
from vllm.multimodal.cache.lru import LruKeyReplicatedReceiverCache, LruKeyReplicatedSenderCache

from model.vllm_adapter.prepared import PreparedCache


class Sent:
    """Takes from requests what the engine holds.

    Args:
        engine_core: the engine's process as the server sees it, before its first request; changed in place.
        model_config: of the engine, whose cache is that large.
    """

    def __init__(self, engine_core: Any, model_config: Any) -> None:
        self._mirror = LruKeyReplicatedSenderCache(model_config)
        self._lock = threading.Lock()
        self._forgotten = 0
        self._add = engine_core.add_request_async
        engine_core.add_request_async = self._add_request

    def forget(self) -> None:
        """Take nothing for granted any more."""
        with self._lock:
            self._mirror.clear_cache()
            # What the engine may still hold gets no younger under its old name, so it goes before all that is sent now.
            self._forgotten += 1

    async def _add_request(self, request: Any) -> None:
        if not request.mm_features:
            await self._add(request)
            return
        # Several answers to one prompt are several requests with one list: it stays as it is.
        with self._lock:
            request.mm_features = self._reduced(request.mm_features)
        try:
            await self._add(request)
        except BaseException:
            # It may have arrived, or not.
            self.forget()
            raise

    def _reduced(self, features: list[Any]) -> list[Any]:
        """The same media, without the contents of those that the engine holds. The engine does these very steps."""
        suffix = f".{self._forgotten}" if self._forgotten else ""
        names = [f"{feature.mm_hash}{suffix}" for feature in features]
        for name in names:
            self._mirror.touch_sender_cache_item(name)
        reduced: list[Any] = []
        for name, feature in zip(names, features, strict=True):
            data, _ = self._mirror.get_and_update_item((feature.data, ()), name)
            reduced.append(dataclasses.replace(feature, data=data, mm_hash=name))
        return reduced


def send_once(engine_client: Any, cache: PreparedCache) -> None:
    """Send what `cache` holds once, if there is one engine that keeps what it was sent; call it at most once.

    Args:
        engine_client: of an API server.
        cache: learns from the engine if something was missing after all, and from us that it is to be sent again.
    """
    if isinstance(engine_receiver_cache_from_config(engine_client.vllm_config), LruKeyReplicatedReceiverCache):
        cache.lost = Sent(engine_client.engine_core, engine_client.model_config).forget
