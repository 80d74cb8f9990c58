"""What the engine was sent is not sent again, and never missing: beside the cache that the engine itself uses."""

import asyncio
import copy
import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.multimodal.cache.lru import LruKeyReplicatedReceiverCache
from vllm.multimodal.inputs import (
    MultiModalBatchedField,
    MultiModalFeatureSpec,
    MultiModalFieldElem,
    MultiModalKwargsItem,
    PlaceholderRange,
)

from model.vllm_adapter.prepared import PreparedCache
from server.media.sent import Sent, send_once

GIB = 1 << 30
# Bytes of the smallest medium here.
SIZE = 400


def engine_config(capacity: int = GIB, **options: Any) -> Any:
    """As much of vLLM's configuration as its caches ask for."""
    multimodal = SimpleNamespace(
        mm_processor_cache_gb=capacity / GIB, mm_processor_cache_type=options.get("kind", "lru")
    )
    model = SimpleNamespace(get_multimodal_config=lambda: multimodal, supports_multimodal_inputs=True)
    parallel = SimpleNamespace(
        _api_process_count=1, data_parallel_size=options.get("engines", 1), data_parallel_external_lb=False
    )
    return SimpleNamespace(model_config=model, parallel_config=parallel)


class Engine:
    """The engine's side: what arrives is looked up by vLLM's own cache, which raises for what it does not hold."""

    def __init__(self, config: Any) -> None:
        self.cache = LruKeyReplicatedReceiverCache(config.model_config)
        self.sent = 0
        self.broken = False

    async def add_request_async(self, request: Any) -> None:
        if self.broken:
            raise RuntimeError("the engine is gone")
        features = [copy.copy(feature) for feature in request.mm_features or ()]
        self.sent += sum(feature.data is not None for feature in features)
        for feature in self.cache.get_and_update_features(features):
            held = feature.data["image_inputs"].data  # type: ignore[index]
            assert held[0] == float(feature.identifier)


def medium(number: int, size: int = SIZE) -> MultiModalFeatureSpec:
    """A medium that says which one it is."""
    data = torch.full((size // 4,), float(number))
    item = MultiModalKwargsItem({"image_inputs": MultiModalFieldElem(data, MultiModalBatchedField())})
    return MultiModalFeatureSpec(item, "image", str(number), PlaceholderRange(offset=0, length=4), mm_hash=f"h{number}")


def request(*numbers: int, size: int = SIZE) -> Any:
    return SimpleNamespace(mm_features=[medium(number, size) for number in numbers])


def start(capacity: int = GIB) -> tuple[Engine, Sent]:
    config = engine_config(capacity)
    engine = Engine(config)
    return engine, Sent(engine, config.model_config)


async def test_a_medium_is_sent_once() -> None:
    engine, _ = start()
    await engine.add_request_async(request(1, 2, 1))
    assert engine.sent == 2
    await engine.add_request_async(request(2, 1, 3))
    assert engine.sent == 3
    await engine.add_request_async(SimpleNamespace(mm_features=None))
    assert engine.sent == 3


async def test_several_answers_to_one_prompt_share_its_media() -> None:
    engine, _ = start()
    asked = request(1, 2)
    given = list(asked.mm_features)
    for _ in range(3):
        await engine.add_request_async(copy.copy(asked))
    assert engine.sent == 2
    assert asked.mm_features == given
    assert all(feature.data is not None for feature in given)


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_ever_missing_however_small_the_cache(seed: int) -> None:
    """Media of several sizes, some larger than the cache, in any order, while it drops the oldest."""
    rng = random.Random(seed)
    engine, sent = start(capacity=6 * SIZE)
    asked = 0
    for _ in range(400):
        numbers = rng.choices(range(12), k=rng.randrange(1, 6))
        await engine.add_request_async(
            SimpleNamespace(mm_features=[medium(number, SIZE * (1 + number % 4 * 2)) for number in numbers])
        )
        asked += len(numbers)
        if rng.random() < 0.02:
            sent.forget()
    assert 0 < engine.sent < asked


async def test_what_did_not_arrive_is_sent_again() -> None:
    engine, _ = start()
    await engine.add_request_async(request(1))
    engine.broken = True
    with pytest.raises(RuntimeError):
        await engine.add_request_async(request(2))
    engine.broken = False
    await engine.add_request_async(request(1, 2))
    assert engine.sent == 3


async def test_what_the_engine_lost_is_sent_again() -> None:
    config = engine_config()
    engine = Engine(config)
    cache = PreparedCache(config.model_config)
    send_once(SimpleNamespace(vllm_config=config, model_config=config.model_config, engine_core=engine), cache)
    await engine.add_request_async(request(1))
    for lose in (cache.clear_cache, lambda: cache.invalidate("h1")):
        engine.cache.clear_cache()
        lose()
        await engine.add_request_async(request(1))
    assert engine.sent == 3


@pytest.mark.parametrize("options", [{"engines": 2}, {"kind": "shm"}, {"capacity": 0}])
def test_engines_that_keep_nothing_are_sent_everything(options: dict[str, Any]) -> None:
    config = engine_config(**options)
    core = SimpleNamespace(add_request_async=None)
    send_once(SimpleNamespace(vllm_config=config, engine_core=core), PreparedCache(engine_config().model_config))
    assert core.add_request_async is None


def test_requests_at_the_same_time_arrive_in_the_order_in_which_they_were_reduced() -> None:
    async def all_at_once() -> int:
        engine, _ = start(capacity=4 * SIZE)
        await asyncio.gather(*(engine.add_request_async(request(n % 6, n % 5)) for n in range(60)))
        return engine.sent

    assert asyncio.run(all_at_once()) < 120
