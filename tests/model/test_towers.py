"""CLIP and SigLIP through transformers: features, published preprocessing, every spelling of the names."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from model.encoders import encode, encoder_config
from model.errors import ConfigurationError
from tests.support.tiny import ENCODERS, picture

TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}


def whole(family):
    torch.manual_seed(0)
    values = {"text_config": TEXT, "vision_config": ENCODERS[family]["config"]}
    return CLIPModel(CLIPConfig(**values)) if family == "clip" else SiglipModel(SiglipConfig(**values))


def hub_names(state):
    """Names as files on the hub have them: towers keep their `text_model.` and `vision_model.` level."""
    return {
        name if name.startswith(("text_", "vision_", "visual_", "logit_")) else f"vision_model.{name}": tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("family", ["clip", "siglip"])
@torch.no_grad()
def test_pooled_output_from_whole_models(family):
    model = whole(family).eval()
    config = encoder_config(ENCODERS[family])
    module = config.build().eval()
    module.load_state_dict(config.convert(hub_names(model.state_dict())))
    pixels = config.preprocess(picture(3))
    expected = model.vision_model(pixel_values=pixels[None]).pooler_output
    assert expected.std() > 0.01
    (features,) = encode(module, [pixels])
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("layer", [None, -1, -2])
@torch.no_grad()
def test_patches_are_the_hidden_states_of_whole_models(family, layer):
    """`hidden_states[layer]` of the published model without its class token; by default the last but one (LLaVA)."""
    model = whole(family).eval()
    config = encoder_config({**ENCODERS[family], "features": "patches", **({"layer": layer} if layer else {})})
    module = config.build().eval()
    module.load_state_dict(config.convert(hub_names(model.state_dict())))
    pixels = config.preprocess(picture(3))
    states = model.vision_model(pixel_values=pixels[None], output_hidden_states=True).hidden_states
    (features,) = encode(module, [pixels])
    assert features.shape == (config.length, config.dim) == (16, 32)
    torch.testing.assert_close(features, states[layer or -2][0, -16:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_layers_behind_the_features_are_not_built(family):
    depths = {}
    for layer in (-1, -2):
        config = encoder_config({**ENCODERS[family], "features": "patches", "layer": layer})
        names = config.build().state_dict()
        assert names.keys() == config.convert(hub_names(whole(family).state_dict())).keys()
        assert not [name for name in names if "post_layernorm" in name or "head" in name]
        depths[layer] = {name.split(".")[3] for name in names if ".layers." in name}
    assert depths == {-1: {"0", "1"}, -2: {"0"}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": "grid"}, "encoder.features: 'grid' is not one of patches, pooled"),
        ({"layer": -2}, "encoder.layer: -2 goes with features: patches"),
        ({"features": "patches", "layer": 0}, "encoder.layer: 0 is outside -12..-1"),
        ({"features": "patches", "layer": -13}, "encoder.layer: -13 is outside -12..-1"),
        (
            {"features": "patches", "config": {**ENCODERS["siglip"]["config"], "num_hidden_layers": 1}},
            "encoder.layer: the last but one of 1 layers does not exist; give layer: -1",
        ),
    ],
)
def test_refuses(values, message):
    with pytest.raises(ConfigurationError) as error:
        encoder_config({"family": "siglip", **values})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("family", "size", "patch", "vectors"), [("clip", 336, 14, 576), ("siglip", 384, 16, 576), ("siglip", 384, 14, 729)]
)
def test_published_numbers_of_patches(family, size, patch, vectors):
    """LLaVA-1.5, MMMModal and Mipha."""
    config = {**encoder_config({"family": family}).config, "image_size": size, "patch_size": patch}
    assert encoder_config({"family": family, "config": config, "features": "patches"}).length == vectors


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_every_spelling_converts(family):
    config = encoder_config(ENCODERS[family])
    expected = config.build().state_dict()
    tower = (CLIPVisionModel if family == "clip" else SiglipVisionModel)(config.hf_config).state_dict()
    bare = {name.removeprefix("vision_model."): tensor for name, tensor in tower.items()}
    old = {f"vision_model.{name}": tensor for name, tensor in bare.items()} | {
        "vision_model.embeddings.position_ids": torch.arange(17)[None],
        "text_model.embeddings.position_ids": torch.arange(7)[None],
        "text_model.encoder.layers.0.mlp.fc1.weight": torch.ones(2, 2),
        "logit_scale": torch.ones(()),
    }
    nested = {f"model.{name}": tensor for name, tensor in old.items()}
    spellings = [tower, bare, old, nested, whole(family).state_dict()]
    if family == "clip":
        spellings.append(CLIPVisionModelWithProjection(config.hf_config).state_dict())
    for state in spellings:
        converted = config.convert(state)
        assert converted.keys() == expected.keys()
        assert all(converted[name].shape == expected[name].shape for name in expected)


@pytest.mark.parametrize("size", [(300, 217), (217, 301), (640, 480), (50, 60), (224, 500), (5, 39), (1, 1)])
@pytest.mark.parametrize(
    ("family", "published"), [("clip", CLIPImageProcessorPil), ("siglip", SiglipImageProcessorPil)]
)
def test_preprocessing_is_the_published_one(family, published, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = published()(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(encoder_config({"family": family}).preprocess(image), expected, rtol=1e-5, atol=1e-5)


def test_default_sizes_are_those_of_the_published_models():
    for family, millions in (("clip", 303.2), ("siglip", 92.9)):
        with torch.device("meta"):
            module = encoder_config({"family": family}).build()
        assert sum(p.numel() for p in module.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
