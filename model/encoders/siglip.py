"""SigLIP's vision tower (Google, Apache-2.0) through transformers: one pooled vector per picture."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from model.encoders.base import EncoderConfig
from model.encoders.images import to_tensor
from model.encoders.tower import PooledTower, tower_names, vision_config

# SigLIP maps 0..255 to -1..1.
PIXEL_MEAN, PIXEL_STD = (127.5,) * 3, (127.5,) * 3


@dataclass(frozen=True, kw_only=True)
class SiglipConfig(EncoderConfig):
    """SigLIP ViT with its attention-pooling head; the defaults are B/16 at 224 pixels."""

    family = "siglip"
    modality = "image"
    licence = "Apache-2.0"

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

    def __post_init__(self) -> None:
        _ = self.hf_config

    @cached_property
    def hf_config(self) -> SiglipVisionConfig:
        """The transformers configuration."""
        return vision_config(SiglipVisionConfig, self.config)

    @property
    def dim(self) -> int:
        """Width of the tower."""
        return int(self.hf_config.hidden_size)

    @property
    def length(self) -> int:
        """One pooled vector."""
        return 1

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, size, size]`: squeezed to the square as SigLIP was trained (bicubic), scaled to -1..1."""
        size = int(self.hf_config.image_size)
        resized = medium.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        return to_tensor(resized, PIXEL_MEAN, PIXEL_STD)

    def example(self) -> Image.Image:
        """A blank picture of the input size."""
        return Image.new("RGB", (int(self.hf_config.image_size),) * 2)

    def build(self) -> nn.Module:
        """The tower, pooled."""
        return PooledTower(SiglipVisionModel(self.hf_config))

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accept the names of whole SigLIP models (with text tower) and of vision towers, old and new."""
        return tower_names(state)
