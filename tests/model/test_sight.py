"""A picture that was resized for an encoder beforehand is seen exactly as the whole one."""

import numpy as np
import pytest
import torch
from PIL import Image

from model.encoders import FAMILIES, encoder_config
from model.sight import Sight, shrink
from tests.support.tiny import ENCODERS

SEEING = [name for name, values in ENCODERS.items() if FAMILIES[values["family"]].modality == "image"]
# Photographs, odd sizes, just large enough, and strips longer than what is cropped first.
SIZES = [(1024, 768), (768, 1024), (601, 601), (1333, 777), (5000, 540), (541, 4999), (448, 10_000)]


def noise(size: tuple[int, int]) -> Image.Image:
    """Every pixel matters."""
    return Image.fromarray(np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("name", SEEING)
@pytest.mark.parametrize("size", SIZES)
def test_an_encoder_sees_the_same_pixels(name: str, size: tuple[int, int]) -> None:
    encoder, picture = encoder_config(ENCODERS[name]), noise(size)
    assert encoder.sight is not None
    smaller = encoder.sight.of(picture)
    assert min(smaller.size) == encoder.sight.size
    assert encoder.sight.of(smaller).tobytes() == smaller.tobytes()
    assert torch.equal(encoder.preprocess(smaller), encoder.preprocess(picture))


def test_only_much_larger_pictures_are_shrunk() -> None:
    sight = Sight(size=32)
    for size, shrunk in (((63, 500), (63, 500)), ((64, 500), (32, 250)), ((64, 9000), (32, 256)), ((16, 16), (16, 16))):
        assert shrink(noise(size), sight).size == shrunk
    assert shrink(noise((64, 64)), None).size == (64, 64)
    assert shrink(noise((64, 500)), Sight(size=32, square=True)).size == (32, 32)


def test_sounds_are_not_seen() -> None:
    assert encoder_config(ENCODERS["whisper"]).sight is None
