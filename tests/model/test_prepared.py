"""Media with keys in the processor: prepared once, and right whatever the cache holds or loses."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.cache.base import MultiModalProcessorOnlyCache
from vllm.multimodal.processing.context import TimingContext
from vllm.multimodal.processing.inputs import ProcessorInputs

from model.configuration import QuartetConfig
from model.media import Sound
from model.vllm_adapter.prepared import Keyed, PreparedCache
from model.vllm_adapter.processing import QuartetProcessingInfo, QuartetProcessor
from tests.support.tiny import picture, sound

GIB = 1 << 30


class Info(QuartetProcessingInfo):
    """With encoders that stay the same, so that they can be watched."""

    modality_specs: Any = None

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.modality_specs = self.get_hf_config().modality_specs


class Processor(QuartetProcessor):
    """With what the engine would give it, and counting what it prepares."""

    def __init__(self, config: QuartetConfig, capacity: int = GIB) -> None:
        multimodal = SimpleNamespace(
            mm_processor_cache_gb=capacity / GIB,
            mm_hasher_algorithm="blake3",
            get_limit_per_prompt=lambda name: 99,
            enable_mm_embeds=False,
        )
        model_config = SimpleNamespace(get_multimodal_config=lambda: multimodal, model="m")
        context: Any = SimpleNamespace(
            get_hf_config=lambda kind: config, model_config=model_config, get_mm_config=lambda: multimodal
        )
        self.info = Info(context)
        self.prepared: list[str] = []
        for name, spec in self.info.modality_specs.items():
            real = spec.encoder.preprocess_many

            def counted(media: Any, name: str = name, real: Any = real) -> Any:
                self.prepared += [name] * len(media)
                return real(media)

            object.__setattr__(spec.encoder, "preprocess_many", counted)

    def run(self, cache: Any = "own", **media: list[Any]) -> tuple[list[Any], list[str]]:
        """Inputs and hashes of all media, in order."""
        items = self.info.get_data_parser().parse_mm_data(media)
        used = self.safe_cache(MultiModalProcessorOnlyCache(self.info.ctx.model_config)) if cache == "own" else cache
        inputs = ProcessorInputs([], items, cache=used)
        result = self._cached_apply_hf_processor(inputs, TimingContext(enabled=False))
        tensors = [item[f"{name}_inputs"].data for name in media for item in result.kwargs[name]]
        return tensors, [key for name in media for key in result.hashes[name]]


@pytest.fixture
def processor(tiny_checkpoint: Path) -> Processor:
    return Processor(QuartetConfig.from_pretrained(tiny_checkpoint))


def expected(processor: Processor, name: str, medium: Any) -> torch.Tensor:
    return processor.info.modality_specs[name].encoder.preprocess(medium)


def test_a_key_is_the_name_in_all_caches(processor: Processor) -> None:
    (tensor,), hashes = processor.run(image=[Keyed("k" * 64, medium=picture(0))])
    assert hashes == ["k" * 64]
    torch.testing.assert_close(tensor, expected(processor, "image", picture(0)), rtol=0, atol=0)
    # Other media keep the engine's own hashes, beside it too.
    _, mixed = processor.run(image=[picture(0), Keyed("k" * 64, medium=picture(0))])
    assert mixed[1] == "k" * 64
    assert mixed[0] not in ("", "k" * 64)


def test_a_known_medium_is_not_prepared_again(processor: Processor) -> None:
    media = {"image": [Keyed("i", medium=picture(1))], "audio": [Keyed("a", medium=Sound(sound(1), 16_000))]}
    first, _ = processor.run(**media)
    assert processor.prepared == ["image", "audio"]
    cache = processor.safe_cache(MultiModalProcessorOnlyCache(processor.info.ctx.model_config))
    assert isinstance(cache, PreparedCache)
    known = {name: [Keyed(key, prepared=cache.prepared(key, name))] for name, key in (("image", "i"), ("audio", "a"))}
    assert known["image"][0].prepared is not None
    again, hashes = processor.run(**known)
    assert processor.prepared == ["image", "audio"]
    assert hashes == ["i", "a"]
    for one, other in zip(first, again, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert cache.prepared("i", "image") is not None
    assert cache.prepared("nothing", "image") is None


@pytest.mark.parametrize("cache", ["own", None])
def test_what_the_cache_lost_is_not_missed(processor: Processor, cache: Any) -> None:
    """Between the question what it holds and the answer's use, it was emptied, or is not even there."""
    stand_in = Keyed("i", prepared=expected(processor, "image", picture(2)))
    mixed = [Keyed("j", medium=picture(3)), stand_in, picture(4), stand_in]
    tensors, _ = processor.run(cache, image=mixed)
    for tensor, seed in zip(tensors, (3, 2, 4, 2), strict=True):
        torch.testing.assert_close(tensor, expected(processor, "image", picture(seed)), rtol=0, atol=0)


def test_a_cache_too_small_for_anything_changes_nothing(tiny_checkpoint: Path) -> None:
    processor = Processor(QuartetConfig.from_pretrained(tiny_checkpoint), capacity=100)
    for _ in range(2):
        (tensor,), _ = processor.run(image=[Keyed("i", medium=picture(0))])
        torch.testing.assert_close(tensor, expected(processor, "image", picture(0)), rtol=0, atol=0)
    assert processor.prepared == ["image", "image"]


def test_what_comes_several_times_at_once_is_prepared_once(processor: Processor) -> None:
    new = Keyed("i", medium=picture(5))
    tensors, _ = processor.run(image=[new, Keyed("j", medium=picture(6)), new, picture(5)])
    assert processor.prepared == ["image"] * 3
    for tensor, seed in zip(tensors, (5, 6, 5, 5), strict=True):
        torch.testing.assert_close(tensor, expected(processor, "image", picture(seed)), rtol=0, atol=0)


def test_all_of_the_front_end_shares_one_cache(processor: Processor) -> None:
    one = processor.safe_cache(MultiModalProcessorOnlyCache(processor.info.ctx.model_config))
    assert processor.safe_cache(one) is one
    assert processor.safe_cache(None) is None
    shared_memory = object()
    assert processor.safe_cache(shared_memory) is shared_memory


def test_the_cache_is_asked_while_it_is_filled(processor: Processor) -> None:
    cache = processor.safe_cache(MultiModalProcessorOnlyCache(processor.info.ctx.model_config))
    failures: list[BaseException] = []
    ended = threading.Event()

    def ask() -> None:
        try:
            while not ended.is_set():
                for seed in range(50):
                    cache.prepared(str(seed), "image")
        except BaseException as error:
            failures.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    small = picture(0)
    for seed in range(50):
        processor.run(image=[Keyed(str(seed), medium=small)])
    ended.set()
    asker.join()
    assert failures == []
    assert cache.make_stats().total == 50
    assert cache.make_stats().hits == 0


@pytest.mark.parametrize("item", [Keyed("k"), Keyed("k", medium=picture(0), prepared=torch.ones(1))])
def test_a_key_stands_for_one_thing(processor: Processor, item: Keyed) -> None:
    with pytest.raises(VLLMValidationError, match="is not a medium"):
        processor.run(image=[item])
