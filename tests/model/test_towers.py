"""CLIP and SigLIP through transformers: pooled output, published preprocessing, every spelling of the names."""

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
