"""Features that no cache can hold: media that are changed before they are encoded, encoders that are trained."""

import pickle
import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from model.errors import DataError
from tests.training.cache.conftest import Make
from tests.training.cache.toys import Counter, ToyConfig
from training.cache import OnTheFly
from training.data import MediaRef


def darken(medium: Image.Image, generator: random.Random) -> Image.Image:
    share = generator.random()
    return medium.point(lambda value: value * share)


def test_they_are_those_of_the_cache(make: Make, pictures: list[MediaRef], tmp_path: Path) -> None:
    save_file({"features": torch.full((2, 1, 32), 0.5).half()}, tmp_path / "f.safetensors")
    mixed = [pictures[4], MediaRef("image", tmp_path / "f.safetensors", 1), *pictures[:3]]
    cache = make()
    cache.ensure(mixed, Counter())
    live = OnTheFly(ToyConfig(), ToyConfig().build())
    torch.testing.assert_close(live.stack(mixed), cache.stack(mixed), atol=1e-3, rtol=1e-3)
    assert torch.equal(live.get(mixed[0]), live.stack(mixed)[0])
    assert not live.stack(mixed).requires_grad
    assert not live.module.training


def test_gradients_reach_an_encoder_that_is_trained(pictures: list[MediaRef]) -> None:
    module = ToyConfig().build().train()
    live = OnTheFly(ToyConfig(), module, trained=True)
    live.stack(pictures).sum().backward()
    (weight,) = module.parameters()
    assert weight.grad is not None
    assert float(weight.grad) > 0
    assert module.training


def test_what_a_medium_becomes_follows_torchs_seed(pictures: list[MediaRef]) -> None:
    live = OnTheFly(ToyConfig(), ToyConfig().build(), augment=darken, workers=4)
    plain = OnTheFly(ToyConfig(), ToyConfig().build()).stack(pictures)
    torch.manual_seed(3)
    first, second = live.stack(pictures), live.stack(pictures)
    torch.manual_seed(3)
    assert torch.equal(live.stack(pictures), first)
    assert not torch.equal(first, second)
    shares = (first / plain)[1:, 0, 0].tolist()
    assert len({round(share, 2) for share in shares}) > 3, "each medium is changed in its own way"
    assert all(share <= 1.01 for share in shares)


def test_a_model_may_encode_within_its_own_forward_pass(pictures: list[MediaRef]) -> None:
    live = OnTheFly(ToyConfig(), ToyConfig().build())
    inputs = live.inputs(pictures)
    assert [tensor.shape for tensor in inputs] == [(3, 2, 4)] * len(pictures)
    with torch.no_grad():
        assert torch.equal(live.module(torch.stack(inputs)), live.stack(pictures))


def test_media_of_different_lengths(tmp_path: Path) -> None:
    config = ToyConfig(vectors=None)
    references = []
    for width in (2, 5):
        path = tmp_path / f"{width}.png"
        Image.new("RGB", (width, 2), "red").save(path)
        references.append(MediaRef("image", path))
    live = OnTheFly(config, config.build())
    assert [len(live.get(reference)) for reference in references] == [2, 5]
    with pytest.raises(DataError, match=r"5\.png: 5 feature vectors, .*2\.png has 2"):
        live.stack(references)


def test_what_cannot_be_decoded_is_named(pictures: list[MediaRef]) -> None:
    live = OnTheFly(ToyConfig(), ToyConfig().build())
    pictures[1].path.write_bytes(b"no picture")
    with pytest.raises(DataError, match=rf"^{pictures[1].path}: not a picture"):
        live.stack(pictures)
    pictures[1].path.unlink()
    with pytest.raises(DataError, match=rf"^{pictures[1].path}: cannot be read \(No such file"):
        live.get(pictures[1])


def test_an_encoder_is_not_sent_to_data_workers() -> None:
    with pytest.raises(TypeError, match="use no DataLoader workers"):
        pickle.dumps(OnTheFly(ToyConfig(), ToyConfig().build()))
