"""SigLIP's vision tower (Google, Apache-2.0) through transformers: one pooled vector per picture, or its patches."""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import SiglipVisionConfig, SiglipVisionModel

from model.encoders.images import to_tensor
from model.encoders.tower import VisionTowerConfig
from model.sight import Sight

# SigLIP maps 0..255 to -1..1.
PIXEL_MEAN, PIXEL_STD = (127.5,) * 3, (127.5,) * 3


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(VisionTowerConfig):
    """SigLIP ViT with its attention-pooling head; the defaults are B/16 at 224 pixels."""

    family = "siglip"
    licence = "Apache-2.0"
    config_class = SiglipVisionConfig
    model_class = SiglipVisionModel
    class_tokens = 0

    config: dict[str, Any] = field(
        default_factory=lambda: {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 224,
            "patch_size": 16,
        }
    )
    """Fields of transformers' `SiglipVisionConfig`."""

    @property
    def sight(self) -> Sight:
        """The square of the input."""
        return Sight(size=self.image_size, square=True)

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, size, size]`: squeezed to the square as SigLIP was trained (bicubic), scaled to -1..1."""
        return to_tensor(self.sight.of(medium.convert("RGB")), PIXEL_MEAN, PIXEL_STD)
