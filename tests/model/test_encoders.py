"""What all encoders share: preprocessing of odd pictures, batching, reading weights, refusals."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from model.encoders import FAMILIES, encode, encoder_config, load_state
from model.errors import CheckpointError, ConfigurationError
from model.media import Sound
from tests.support.tiny import ENCODERS, picture, sound

SIZES = {"clip": 32, "siglip": 32, "efficientnet": 224, "imagebind_image": 224}
SHAPES = {
    "1x1": (1, 1),
    "1x5000": (1, 5000),
    "5000x1": (5000, 1),
    "wide": (300, 40),
    "tall": (17, 90),
    "square": (64, 64),
}


def medium(family, seed=0):
    if FAMILIES[family].modality == "image":
        return picture(seed)
    return Sound(sound(seed), 16_000)


@pytest.mark.parametrize("family", FAMILIES)
def test_interface(family, tmp_path):
    config = encoder_config(ENCODERS[family])
    module = config.build().eval()
    with torch.no_grad():
        (features,) = encode(module, config.preprocess_many([medium(family)]))
        (largest,) = encode(module, [config.preprocess(config.example())])
    assert features.shape == largest.shape == (config.length, config.dim)
    assert features.dtype == torch.float32
    assert config.licence
    config.check(config.example())
    assert family == "efficientnet" or config.classifier(tmp_path) is None


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("size", SHAPES.values(), ids=SHAPES)
def test_any_picture_becomes_the_same_shape(family, mode, size):
    pixels = encoder_config(ENCODERS[family]).preprocess(picture(1, size).convert(mode))
    assert pixels.shape == (3, SIZES[family], SIZES[family])
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert torch.isfinite(pixels).all()
    assert pixels.abs().max() < 3


@pytest.mark.parametrize("family", FAMILIES)
def test_encoding_does_not_depend_on_neighbours(family):
    config = encoder_config(ENCODERS[family])
    module = config.build().eval()
    inputs = config.preprocess_many([medium(family, seed) for seed in range(4)])
    with torch.no_grad():
        together = encode(module, inputs)
        alone = [encode(module, [item])[0] for item in inputs]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Recorder(nn.Module):
    """Gives the sum of each item, and remembers the batches it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.batches = []

    def forward(self, batch):
        self.batches.append(tuple(batch.shape))
        assert batch.dtype == torch.float64
        return batch.flatten(1).sum(-1)[:, None, None]


def test_encode_keeps_order_and_bounds_batches():
    lengths = [3, 5, 3, 3, 5, 7, 3, 3]
    inputs = [torch.full((2, length), float(index)) for index, length in enumerate(lengths)]
    module = Recorder()
    features = encode(module, inputs, max_batch=2)
    assert [feature.item() for feature in features] == [2 * length * index for index, length in enumerate(lengths)]
    assert all(feature.shape == (1, 1) for feature in features)
    assert sorted(module.batches) == [(1, 2, 3), (1, 2, 7), (2, 2, 3), (2, 2, 3), (2, 2, 5)]
    assert encode(module, []) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_own_names_convert_to_themselves(family):
    """Weights saved from the module load back, so an encoder can be shipped as it is."""
    config = encoder_config(ENCODERS[family])
    state = {name: t for name, t in config.build().state_dict().items() if not name.endswith("num_batches_tracked")}
    converted = config.convert({name.removeprefix("tower."): tensor for name, tensor in state.items()})
    assert converted.keys() == state.keys()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "clip", "config": {"hidden": 3}}, "encoder.config: unknown key 'hidden'; known keys are"),
        ({"family": "clip", "config": {"hidden_size": "3"}}, "encoder.config: "),
        ({"family": "clip", "config": {"image_size": 9000}}, "encoder.config.image_size: 9000 is outside 1..4096"),
        (
            {"family": "clip", "config": {"image_size": 8, "patch_size": 16}},
            "encoder.config.patch_size: 16 is outside 1..8",
        ),
        ({"family": "siglip", "config": {"hidden_size": 30, "num_attention_heads": 4}}, "30 is not a multiple of"),
        ({"family": "siglip", "config": [1]}, "encoder.config: expected dict[str, Any], got [1]"),
        ({"family": "whisper", "heads": 5}, "encoder.d_model: 384 is not a multiple of heads (5)"),
        ({"family": "whisper", "layers": 0}, "encoder.layers: 0 is outside 1..128"),
        ({"family": "whisper", "max_positions": 1501}, "encoder.max_positions: 1501 is outside 8..1500"),
        ({"family": "whisper", "extra": {"d_model": 3}}, "encoder.extra: unknown key 'd_model'"),
        ({"family": "whisper", "extra": {"colour": 3}}, "encoder.extra: unknown key 'colour'"),
        (
            {},
            "encoder.family: None is not one of clip, efficientnet, imagebind_audio, imagebind_image, siglip, whisper",
        ),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        encoder_config(values)
    assert message in str(error.value)


def test_load_state(tmp_path):
    tensors = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    save_file({"a": tensors["a"]}, tmp_path / "model-1.safetensors")
    save_file({"b": tensors["b"]}, tmp_path / "model-2.safetensors")
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": tensors}, tmp_path / "whisper.pt")
    torch.save(tensors, tmp_path / "plain.pth")
    for path in (tmp_path, tmp_path / "whisper.pt", tmp_path / "plain.pth"):
        state = load_state(path)
        assert state.keys() == tensors.keys()
        assert all(torch.equal(state[name], tensors[name]) for name in tensors)


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_load_state_refuses_code_and_damage(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "code.pt").write_bytes(pickle.dumps({"a": Payload()}, protocol=2))
    torch.save({"a": Payload()}, tmp_path / "code2.pt")
    torch.save({"a": 3}, tmp_path / "number.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": torch.ones(3)}, tmp_path / "whole.pt")
    (tmp_path / "half.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:200])
    (tmp_path / "half.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    names = ("empty", "code.pt", "code2.pt", "number.pt", "list.pt", "half.pt", "half.safetensors", "missing.pt")
    for name in names:
        with pytest.raises(CheckpointError, match=name):
            load_state(tmp_path / name)
    assert "never run" not in capsys.readouterr().out


def test_thin_pictures_keep_their_middle():
    """The part of a strip that survives is its centre, not its start."""
    strip = np.zeros((10, 4000, 3), np.uint8)
    strip[:, 1900:2100] = 255
    pixels = encoder_config(ENCODERS["efficientnet"]).preprocess(Image.fromarray(strip))
    assert pixels.min() > 0.9
