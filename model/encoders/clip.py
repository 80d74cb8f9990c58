"""CLIP's vision tower (OpenAI, MIT) through transformers: one pooled vector per picture, or its patches."""

from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

from model.encoders.images import to_tensor
from model.encoders.tower import VisionTowerConfig
from model.sight import Sight, centre_crop

# CLIP's published channel statistics, on 0..255.
PIXEL_MEAN = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
PIXEL_STD = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, kw_only=True)
class ClipConfig(VisionTowerConfig):
    """CLIP ViT, the class token after the last layer norm; the defaults are ViT-L/14 at 224 pixels."""

    family = "clip"
    licence = "MIT"
    config_class = CLIPVisionConfig
    model_class = CLIPVisionModel
    class_tokens = 1

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

    @property
    def sight(self) -> Sight:
        """Short side to the size of the input."""
        return Sight(size=self.image_size, rounding="down")

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, size, size]`: short side to size (bicubic), centre crop, CLIP's normalisation."""
        return to_tensor(centre_crop(self.sight.of(medium.convert("RGB")), self.image_size), PIXEL_MEAN, PIXEL_STD)
