"""ImageBind: the embeddings, names and preprocessing of the published package, from random weights."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from model.encoders import encode, encoder_config
from model.errors import ConfigurationError, MediaLimitError
from model.media import Sound
from model.tensor_file import compare
from tests.support.imagebind import published
from tests.support.tiny import ENCODERS, picture, sound

KINDS = {"imagebind_image": "vision", "imagebind_audio": "audio"}
RATE = 16_000
# Sizes of the modalities that are not ours: as small as possible.
OTHERS = {
    f"{modality}_{field}": value
    for modality in ("text", "depth", "thermal", "imu")
    for field, value in (("embed_dim", 8), ("num_blocks", 1), ("num_heads", 1))
}


def small():
    """The published model with the sizes of our tiny encoders, and weights large enough to tell media apart."""
    torch.manual_seed(0)
    sizes = {
        f"{modality}_{field}": ENCODERS[family][own]
        for family, modality in KINDS.items()
        for field, own in (("embed_dim", "width"), ("num_blocks", "layers"), ("num_heads", "heads"))
    }
    model = published().imagebind_model.ImageBindModel(out_embed_dim=32, **sizes, **OTHERS).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=1.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.5)
    return model


def media(family):
    if family == "imagebind_image":
        return [picture(seed, (300 + 10 * seed, 250)) for seed in range(3)]
    return [Sound(sound(seed, seconds=seconds), RATE) for seed, seconds in enumerate((0.5, 4.0, 11.0))]


@pytest.mark.parametrize("family", KINDS)
@torch.no_grad()
def test_embeddings_of_the_published_model(family):
    model = small()
    config = encoder_config(ENCODERS[family])
    module = config.build().eval()
    module.load_state_dict(config.convert(model.state_dict()))
    inputs = config.preprocess_many(media(family))
    expected = model({KINDS[family]: torch.stack(inputs)})[KINDS[family]]
    assert (expected[0] - expected[1]).norm() > 0.03 * expected[0].norm()
    features = torch.cat(encode(module, inputs))
    # S3 normalises once more, which only removes the audio encoder's scale.
    torch.testing.assert_close(features, nn.functional.normalize(expected, dim=-1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))


@torch.no_grad()
def test_audio_as_imagebind_itself_gives_it():
    model = small()
    config = encoder_config({**ENCODERS["imagebind_audio"], "normalise": False})
    module = config.build().eval()
    module.load_state_dict(config.convert(model.state_dict()))
    inputs = config.preprocess_many(media("imagebind_audio"))
    expected = model({"audio": torch.stack(inputs)})["audio"]
    assert (expected.norm(dim=-1) <= 20.001).all()
    torch.testing.assert_close(torch.cat(encode(module, inputs)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "millions"), [("imagebind_image", 632.8), ("imagebind_audio", 86.3)])
def test_published_names_and_sizes(family, millions, monkeypatch):
    """Every tensor of the published file's vision and audio parts has its place, at the published size."""
    monkeypatch.setattr(torch, "linspace", np.linspace)  # asked for numbers, which meta tensors do not have
    with torch.device("meta"):
        huge = published().imagebind_model.imagebind_huge()
        config = encoder_config({"family": family})
        module = config.build()
    compare(config.convert(huge.state_dict()), module.state_dict(), "imagebind_huge")
    assert (config.dim, config.length) == (1024, 1)
    assert sum(parameter.numel() for parameter in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 2.0, 6.0, 10.0, 29.5])
def test_audio_preprocessing_is_the_published_one(seconds, monkeypatch):
    """Clips, padding and normalisation of ImageBind's data.py; its filter bank is compared in test_fbank."""
    samples = sound(3, seconds=seconds)
    data = published().data
    monkeypatch.setattr(data.torchaudio, "load", lambda path: (torch.from_numpy(samples.copy())[None], RATE))
    expected = data.load_and_transform_audio_data(["sound.wav"], "cpu")[0]
    ours = encoder_config({"family": "imagebind_audio"}).preprocess(Sound(samples, RATE))
    assert ours.shape == expected.shape == (3, 1, 128, 204)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_clips_are_spread_from_start_to_end():
    """A click at a known place is heard only by the clip that covers it."""
    config = encoder_config({"family": "imagebind_audio"})
    silence = config.preprocess(Sound(np.zeros(10 * RATE, np.float32), RATE))
    heard = []
    for second in (0.5, 3.0, 5.0, 7.0, 9.5):
        samples = np.zeros(10 * RATE, np.float32)
        samples[int(second * RATE)] = 1.0
        mel = config.preprocess(Sound(samples, RATE))
        heard.append([clip for clip in range(3) if not torch.equal(mel[clip], silence[clip])])
    assert heard == [[0], [], [1], [], [2]]
    five = encoder_config({"family": "imagebind_audio", "clips": 5}).preprocess(config.example())
    assert five.shape == (5, 1, 128, 204)


def test_sound_beyond_the_limit_is_refused():
    config = encoder_config({"family": "imagebind_audio", "max_seconds": 12})
    config.check(Sound(np.zeros(12 * RATE, np.float32), RATE))
    with pytest.raises(MediaLimitError, match=r"lasts 12.1 s, this model hears at most 12 s"):
        config.preprocess(Sound(np.zeros(round(12.1 * RATE), np.float32), RATE))


@pytest.mark.parametrize(("count", "rate"), [(0, 16_000), (1, 44_100), (300, 16_000), (7, 192_000)])
def test_a_few_samples_are_a_sound(count, rate):
    mel = encoder_config({"family": "imagebind_audio"}).preprocess(Sound(np.full(count, 0.5, np.float32), rate))
    assert mel.shape == (3, 1, 128, 204)
    assert torch.isfinite(mel).all()


@pytest.mark.parametrize(
    "size", [(300, 217), (217, 301), (640, 480), (50, 60), (224, 500), (1, 1), (225, 224), (224, 227)]
)
def test_picture_preprocessing_is_torchvisions(size):
    """Resize(224, bicubic), CenterCrop(224), Normalize, with the roundings written out."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    short = min(size)
    width, height = (int(224 * side / short) for side in size)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    seen = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 224, top + 224))
    pixels = torch.from_numpy(np.array(seen)).permute(2, 0, 1) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    ours = encoder_config({"family": "imagebind_image"}).preprocess(image)
    torch.testing.assert_close(ours, (pixels - mean) / std, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "imagebind_image", "heads": 7}, "encoder.width: 1280 is not a multiple of heads (7)"),
        ({"family": "imagebind_image", "clips": 3}, "encoder: unknown key 'clips'"),
        ({"family": "imagebind_audio", "clips": 0}, "encoder.clips: 0 is outside 1..64"),
        ({"family": "imagebind_audio", "max_seconds": 1}, "encoder.max_seconds: 1 is outside 2..600"),
        ({"family": "imagebind_audio", "embedding": 0}, "encoder.embedding: 0 is outside 1..8192"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        encoder_config(values)
    assert message in str(error.value)


def test_the_licence_is_recorded():
    for family in KINDS:
        assert encoder_config({"family": family}).licence == "CC-BY-NC-SA-4.0"
