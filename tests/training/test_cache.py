"""The feature cache: every medium is encoded once, by one encoder, and whatever is damaged is named."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from model.encoders import encoder_config, load_state
from model.errors import CheckpointError, DataError
from tests.support.tiny import ENCODERS
from tests.training.parts import draw, play
from training import cache as cache_module
from training.cache import FeatureCache
from training.data import MediaRef
from training.parts import encode_media

DIM = 32


class Counter:
    """An encoder that counts what it encodes; its feature is the mean of the picture's pixels."""

    def __init__(self, limit: int = 10_000, value: float = 1.0) -> None:
        self.media, self.built, self.limit, self.value = 0, 0, limit, value

    def __call__(self) -> nn.Module:
        self.built += 1
        return _Mean(self)


class _Mean(nn.Module):
    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter, self.weight = counter, nn.Parameter(torch.ones(1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.counter.media += len(pixels)
        if self.counter.media > self.counter.limit:
            raise KeyboardInterrupt
        return pixels.mean(dim=(1, 2, 3))[:, None, None].expand(-1, 1, DIM) * self.counter.value


@pytest.fixture
def pictures(tmp_path: Path) -> list[MediaRef]:
    paths = [tmp_path / "media" / f"{index}.png" for index in range(7)]
    for index, path in enumerate(paths):
        draw(path, (30 * index, 200 - 20 * index, 90), index)
    return [MediaRef("image", path) for path in paths]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., FeatureCache]:
    def build(sha256: str = "0" * 64, **changes: object) -> FeatureCache:
        config = encoder_config({**ENCODERS["clip"], **changes})
        return FeatureCache(tmp_path / "features", config, sha256)

    return build


def test_each_medium_is_encoded_once(make: Callable[..., FeatureCache], pictures: list[MediaRef]) -> None:
    first = Counter()
    cache = make()
    assert cache.ensure(pictures * 2, first) == len(pictures)
    assert (first.media, first.built) == (len(pictures), 1)
    second = Counter()
    assert cache.ensure(pictures, second) == make().ensure(pictures, second) == 0
    assert (second.media, second.built) == (0, 0)
    again = make()
    assert torch.equal(again.stack(pictures), cache.stack(pictures))
    assert again.stack(pictures).shape == (len(pictures), 1, DIM)
    assert again.get(pictures[0]).dtype == torch.float32
    assert len(set(again.stack(pictures)[:, 0, 0].tolist())) == len(pictures)


def test_features_are_those_of_the_encoder(tmp_path: Path, parts: Path) -> None:
    play(tmp_path / "a.wav", 440, 0)
    play(tmp_path / "b.wav", 880, 1, seconds=0.5)
    references = [MediaRef("audio", tmp_path / name) for name in ("b.wav", "a.wav")]
    config = encoder_config(ENCODERS["whisper"])
    state = config.convert(load_state(parts / "audio.safetensors"))
    cache = FeatureCache(tmp_path / "features", config, "0" * 64)
    encode_media(cache, references, state)
    module = config.build().eval()
    module.load_state_dict(state)
    for reference in references:
        mel = config.preprocess(cache_module.decode_audio(reference.path.read_bytes()))
        with torch.inference_mode():
            torch.testing.assert_close(cache.get(reference), module(mel[None])[0], atol=2e-3, rtol=2e-3)


def test_a_renamed_file_is_found_and_a_changed_one_is_not(
    make: Callable[..., FeatureCache], pictures: list[MediaRef]
) -> None:
    make().ensure(pictures, Counter())
    renamed = pictures[0].path.rename(pictures[0].path.with_name("renamed.png"))
    assert make().ensure([MediaRef("image", renamed)], Counter()) == 0
    draw(renamed, (1, 2, 3), 99)
    with pytest.raises(DataError, match=r"renamed\.png is not in the feature cache"):
        make().get(MediaRef("image", renamed))


def test_equal_files_are_encoded_once(make: Callable[..., FeatureCache], pictures: list[MediaRef]) -> None:
    copy = pictures[0].path.with_name("copy.png")
    copy.write_bytes(pictures[0].path.read_bytes())
    counter, cache = Counter(), make()
    assert cache.ensure([pictures[0], MediaRef("image", copy)], counter) == counter.media == 1
    assert torch.equal(cache.get(pictures[0]), cache.get(MediaRef("image", copy)))


def test_another_encoder_never_gives_its_features(make: Callable[..., FeatureCache], pictures: list[MediaRef]) -> None:
    make().ensure(pictures, Counter())
    for other in (make(sha256="1" * 64), make(config={**ENCODERS["clip"]["config"], "num_hidden_layers": 1})):
        assert len(other.missing(pictures)) == len(pictures)


def test_an_interrupted_run_continues_after_its_last_shard(
    make: Callable[..., FeatureCache], pictures: list[MediaRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "SHARD_ROWS", 2)
    with pytest.raises(KeyboardInterrupt):
        make().ensure(pictures, Counter(limit=5))
    counter = Counter()
    assert make().ensure(pictures, counter) == counter.media == len(pictures) - 4
    assert not list(make().folder.glob(".partial-*"))


def test_two_instances_at_once(make: Callable[..., FeatureCache], pictures: list[MediaRef]) -> None:
    first, second = make(), make()
    assert first.ensure(pictures, Counter()) == second.ensure(pictures, Counter()) == len(pictures)
    assert len(list(first.folder.iterdir())) == 2, "the same media make the same shard"
    assert torch.equal(first.stack(pictures), second.stack(pictures))
    assert make().ensure(pictures, Counter()) == 0


@pytest.mark.parametrize("damage", ["truncated", "no shard", "other rows", "no list"])
def test_a_damaged_shard_is_named(make: Callable[..., FeatureCache], pictures: list[MediaRef], damage: str) -> None:
    cache = make()
    cache.ensure(pictures, Counter())
    (shard,) = cache.folder.glob("*.safetensors")
    if damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:100])
    elif damage == "no shard":
        shard.unlink()
    elif damage == "other rows":
        save_file({"features": torch.zeros(2, 1, DIM)}, shard)
    else:
        shard.with_suffix(".json").write_text('["')
    with pytest.raises(DataError, match=rf"{shard.name} is damaged.*delete"):
        make()


def test_what_cannot_be_decoded_is_named(make: Callable[..., FeatureCache], pictures: list[MediaRef]) -> None:
    bad = pictures[3].path
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(DataError, match=rf"{bad.name}: "):
        make().ensure(pictures, Counter())
    bad.unlink()
    with pytest.raises(DataError, match=rf"{bad.name}: cannot be read \(No such file"):
        make().ensure(pictures, Counter())


def test_features_that_do_not_fit_float16_are_refused(
    make: Callable[..., FeatureCache], pictures: list[MediaRef]
) -> None:
    with pytest.raises(DataError, match=r"\.png: the encoder gives features that are not finite"):
        make().ensure(pictures, Counter(value=1e9))


def test_rows_of_feature_files_need_no_encoder(make: Callable[..., FeatureCache], tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    save_file({"features": torch.arange(3 * DIM).reshape(3, 1, DIM).half()}, path)
    references = [MediaRef("image", path, row) for row in (2, 0)]
    cache, counter = make(), Counter()
    assert cache.ensure(references, counter) == counter.built == 0
    assert cache.stack(references)[:, 0, 0].tolist() == [2.0 * DIM, 0.0]
    with pytest.raises(DataError, match=r"f\.safetensors#3: no such row"):
        cache.get(MediaRef("image", path, 3))
    save_file({"features": torch.zeros(3, 1, DIM + 1)}, tmp_path / "g.safetensors")
    with pytest.raises(DataError, match=r"g\.safetensors: features have shape .*\[rows, 1, 32\]; .*another encoder"):
        cache.get(MediaRef("image", tmp_path / "g.safetensors", 0))


def test_weights_of_another_encoder_are_refused(
    make: Callable[..., FeatureCache], parts: Path, pictures: list[MediaRef]
) -> None:
    config = encoder_config(ENCODERS["whisper"])
    state = config.convert(load_state(parts / "audio.safetensors"))
    with pytest.raises(CheckpointError, match=r"weights of the clip encoder: tensor .* is missing"):
        encode_media(make(), pictures, state)
