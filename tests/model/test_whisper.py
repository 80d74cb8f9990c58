"""Whisper: equal to transformers on a full window, its own length below it, nothing cut above it."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig as HFWhisperConfig
from transformers import WhisperFeatureExtractor, WhisperModel

from model.encoders import encode, encoder_config
from model.encoders.whisper import OPENAI_NAMES
from model.errors import ConfigurationError, MediaLimitError
from model.media import Sound
from tests.support.tiny import sound

VALUES = {"family": "whisper", "d_model": 32, "layers": 2, "heads": 2, "ffn_dim": 64}
RATE = 16_000


@pytest.fixture(scope="module")
def config():
    return encoder_config(VALUES)


@pytest.fixture(scope="module")
def hf_model():
    torch.manual_seed(0)
    facts = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    decoder = {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 64, "vocab_size": 51865}
    return WhisperModel(HFWhisperConfig(**facts, **decoder, num_mel_bins=80, init_std=0.2)).eval()


@pytest.fixture(scope="module")
def module(config, hf_model):
    module = config.build().eval()
    module.load_state_dict(config.convert(hf_model.state_dict()))
    return module


def tone(seconds, rate=RATE, frequency=440.0):
    return Sound(0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate, dtype=np.float32), rate)


@torch.no_grad()
def test_full_window_equals_transformers(config, hf_model, module):
    samples = sound(3, seconds=30)
    mel = WhisperFeatureExtractor(feature_size=80)(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    ours = config.preprocess(Sound(samples, RATE))
    torch.testing.assert_close(ours, mel[0])
    expected = hf_model.encoder(mel).last_hidden_state.mean(dim=1)
    assert expected.std() > 0.1
    torch.testing.assert_close(module(ours[None])[:, 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer", [None, -1, -2])
@pytest.mark.parametrize("seconds", [0.5, 30.0])
@torch.no_grad()
def test_frames_are_the_hidden_states_of_the_published_pipeline(hf_model, layer, seconds):
    """Padded to 30 s, `hidden_states[layer]` of transformers; by default the last but one (MMMModal)."""
    frames = encoder_config({**VALUES, "features": "frames", **({"layer": layer} if layer else {})})
    module = frames.build().eval()
    module.load_state_dict(frames.convert(hf_model.state_dict()))
    samples = sound(2, seconds=seconds)
    mel = WhisperFeatureExtractor(feature_size=80)(samples, sampling_rate=RATE, return_tensors="pt")["input_features"]
    ours = frames.preprocess(Sound(samples, RATE))
    torch.testing.assert_close(ours, mel[0])
    expected = hf_model.encoder(mel, output_hidden_states=True).hidden_states[layer or -2]
    (features,) = encode(module, [ours])
    assert features.shape == (frames.length, frames.dim) == (1500, 32)
    torch.testing.assert_close(features, expected[0], rtol=1e-5, atol=1e-5)


def test_frames_have_the_windows_length():
    frames = encoder_config({**VALUES, "features": "frames", "max_positions": 50})
    assert frames.length == 50
    assert {frames.preprocess(tone(seconds)).shape for seconds in (0.01, 0.5, 1.0)} == {(80, 100)}
    with pytest.raises(MediaLimitError, match=r"lasts 1.1 s, this model hears at most 1 s"):
        frames.preprocess(tone(1.1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": "patches"}, "encoder.features: 'patches' is not one of frames, pooled"),
        ({"layer": -1}, "encoder.layer: -1 goes with features: frames"),
        ({"features": "frames", "layer": -3}, "encoder.layer: -3 is outside -2..-1"),
        ({"features": "frames", "layers": 1}, "encoder.layer: the last but one of 1 layers does not exist"),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        encoder_config({**VALUES, **values})
    assert message in str(error.value)


@pytest.mark.parametrize("seconds", [0.1, 0.5, 0.51, 1.0, 9.999, 30.0])
def test_mel_has_the_sounds_own_length(config, seconds):
    mel = config.preprocess(tone(seconds))
    positions = int(np.ceil(seconds * RATE / 320))
    assert mel.shape == (80, 2 * positions)
    assert mel.dtype == torch.float32
    assert torch.isfinite(mel).all()


@torch.no_grad()
def test_short_sound_is_not_drowned_in_silence(config, hf_model, module):
    samples = sound(1, seconds=0.5)
    (own,) = encode(module, [config.preprocess(Sound(samples, RATE))])
    padded = WhisperFeatureExtractor(feature_size=80)(samples, sampling_rate=RATE, return_tensors="pt")[
        "input_features"
    ]
    over_30_seconds = hf_model.encoder(padded).last_hidden_state.mean(dim=1)
    assert (own - over_30_seconds).abs().max() > 0.05


@torch.no_grad()
def test_sounds_of_several_lengths_keep_their_order(config, module):
    sounds = [tone(s, frequency=f) for s, f in ((0.5, 200), (0.2, 300), (0.5, 400), (1.0, 500), (0.2, 600))]
    mels = config.preprocess_many(sounds)
    together = encode(module, mels)
    for mel, features in zip(mels, together, strict=True):
        assert features.shape == (1, 32)
        torch.testing.assert_close(features, module(mel[None])[0], rtol=1e-4, atol=1e-5)


def test_sound_beyond_the_window_is_refused(config):
    config.preprocess(tone(30.0))
    config.preprocess(tone(30.0, rate=44_100))
    with pytest.raises(MediaLimitError, match=r"lasts 30.2 s, this model hears at most 30 s"):
        config.preprocess(tone(30.2))
    shorter = encoder_config({**VALUES, "max_positions": 50})
    assert shorter.preprocess(tone(1.0)).shape == (80, 100)
    with pytest.raises(MediaLimitError, match="hears at most 1 s"):
        shorter.check(tone(1.01))


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_the_tone(config, rate):
    direct, resampled = config.preprocess(tone(1.0)), config.preprocess(tone(1.0, rate=rate))
    assert resampled.shape == direct.shape == (80, 100)
    # The loudest mel band is the same; the filter rings a little at both ends.
    assert torch.equal(direct[:, 10:90].argmax(0), resampled[:, 10:90].argmax(0))


@pytest.mark.parametrize(("count", "rate"), [(1, 16_000), (1, 44_100), (2, 8_000), (1, 1), (0, 16_000), (7, 192_000)])
@torch.no_grad()
def test_a_few_samples_are_a_sound(config, module, count, rate):
    mel = config.preprocess(Sound(np.full(count, 0.5, dtype=np.float32), rate))
    assert mel.shape[0] == 80
    assert mel.shape[1] >= 10
    assert torch.isfinite(module(mel[None])).all()


def openai_state(hf_state):
    """The same weights under the names of OpenAI's files."""
    renamed = {}
    for name, tensor in hf_state.items():
        if name.startswith("encoder."):
            rest = name.removeprefix("encoder.")
            for old, new in reversed(OPENAI_NAMES):
                if new and (new in rest if new.startswith(".") else rest.startswith(new)):
                    rest = rest.replace(new, old)
            renamed[rest if rest.startswith("encoder.") else f"encoder.{rest}"] = tensor
    return renamed


def test_names_of_all_publishers(config, hf_model):
    state = hf_model.state_dict()
    encoder_only = {
        name.removeprefix("encoder."): tensor for name, tensor in state.items() if name.startswith("encoder.")
    }
    whole = {f"model.{name}": tensor for name, tensor in state.items()} | {"proj_out.weight": torch.ones(1)}
    openai = openai_state(state) | {"decoder.token_embedding.weight": torch.ones(1), "decoder.ln.bias": torch.ones(1)}
    # Spellings of OpenAI's tiny.en, read from its file.
    assert {
        "encoder.positional_embedding",
        "encoder.conv1.weight",
        "encoder.ln_post.bias",
        "encoder.blocks.0.attn.query.weight",
        "encoder.blocks.0.attn.key.weight",
        "encoder.blocks.1.attn.out.bias",
        "encoder.blocks.1.attn_ln.weight",
        "encoder.blocks.1.mlp_ln.weight",
        "encoder.blocks.1.mlp.0.weight",
        "encoder.blocks.1.mlp.2.bias",
    } < set(openai)
    module = config.build()
    for named in (state, encoder_only, whole, openai, {name: tensor.half() for name, tensor in openai.items()}):
        converted = config.convert(named)
        module.load_state_dict(converted)
        for name, tensor in converted.items():
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-3)


def test_extra_fields_reach_the_encoder():
    assert (
        encoder_config({**VALUES, "extra": {"activation_function": "relu"}})
        .build()
        .encoder.layers[0]
        .activation_fn(torch.tensor(-1.0))
        == 0
    )
