"""CLIP's vision tower (OpenAI, MIT) through transformers: one pooled vector per picture."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from model.encoders.base import EncoderConfig
from model.encoders.images import centre_crop, resize_short_side, to_tensor
from model.encoders.tower import PooledTower, tower_names, vision_config

# CLIP's published channel statistics, on 0..255.
PIXEL_MEAN = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
PIXEL_STD = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, kw_only=True)
class ClipConfig(EncoderConfig):
    """CLIP ViT, the class token after the last layer norm; the defaults are ViT-L/14 at 224 pixels."""

    family = "clip"
    modality = "image"
    licence = "MIT"

    config: dict[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": 224,
            "patch_size": 14,
        }
    )
    """Fields of transformers' `CLIPVisionConfig`."""

    def __post_init__(self) -> None:
        _ = self.hf_config

    @cached_property
    def hf_config(self) -> CLIPVisionConfig:
        """The transformers configuration."""
        return vision_config(CLIPVisionConfig, self.config)

    @property
    def dim(self) -> int:
        """Width of the tower."""
        return int(self.hf_config.hidden_size)

    @property
    def length(self) -> int:
        """One pooled vector."""
        return 1

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, size, size]`: short side to size (bicubic), centre crop, CLIP's normalisation."""
        size = int(self.hf_config.image_size)
        resized = resize_short_side(medium.convert("RGB"), size, rounding=math.floor)
        return to_tensor(centre_crop(resized, size), PIXEL_MEAN, PIXEL_STD)

    def example(self) -> Image.Image:
        """A blank picture of the input size."""
        return Image.new("RGB", (int(self.hf_config.image_size),) * 2)

    def build(self) -> nn.Module:
        """The tower, pooled."""
        return PooledTower(CLIPVisionModel(self.hf_config))

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accept the names of whole CLIP models (with text tower) and of vision towers, old and new."""
        return tower_names(state)
