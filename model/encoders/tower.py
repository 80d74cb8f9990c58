"""A transformers vision tower as an encoder: configuration, features, and the many spellings of its tensor names.

A family (CLIP, SigLIP) subclasses `VisionTowerConfig` and adds what is its own: classes, defaults, preprocessing.
It gives one pooled vector per picture, or one vector per patch from a layer of choice.
"""

import dataclasses
import re
from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from model.encoders.base import EncoderConfig
from model.encoders.depth import POOLED, check_features, depth
from model.errors import ConfigurationError
from model.fields import check_range

C = TypeVar("C", bound=PreTrainedConfig)

# Whole models carry a text tower and a similarity head beside the vision tower; none of them is ours to load.
OTHER_PARTS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
# What makes the pooled vector out of patches.
POOLING = ("tower.post_layernorm.", "tower.head.")
LAYER = re.compile(r"tower\.encoder\.layers\.(\d+)\.")
PATCHES = "patches"


@dataclass(frozen=True, kw_only=True)
class VisionTowerConfig(EncoderConfig, ABC):
    """A transformers vision tower; `config` holds fields of the family's own configuration class."""

    modality = "image"
    config_class: ClassVar[type[PreTrainedConfig]]
    model_class: ClassVar[type[PreTrainedModel]]
    class_tokens: ClassVar[int]
    """Vectors before the first patch."""

    config: dict[str, Any] = field(default_factory=dict)
    """Fields of `config_class`."""
    features: str = POOLED
    """`pooled`: one vector per picture; `patches`: one per patch, in reading order, without a class token."""
    layer: int | None = None
    """With `patches`: the layer whose output they are, counted from the end; -1 is the last one, before its final norm.
    By default -2, as in LLaVA, Mipha and MMMModal; later layers are not built and need no weights."""

    def __post_init__(self) -> None:
        layers = int(self.hf_config.num_hidden_layers)
        check_features(self.features, self.layer, sequence=PATCHES, layers=layers)

    @cached_property
    def hf_config(self) -> PreTrainedConfig:
        """The transformers configuration."""
        return vision_config(self.config_class, self.config)

    @property
    def dim(self) -> int:
        """Width of the tower."""
        return int(self.hf_config.hidden_size)

    @property
    def length(self) -> int:
        """One vector, or one for each patch."""
        return 1 if self.features == POOLED else (self.image_size // int(self.hf_config.patch_size)) ** 2

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return int(self.hf_config.image_size)

    def example(self) -> Image.Image:
        """A blank picture of the input size: every picture costs the same."""
        return Image.new("RGB", (self.image_size, self.image_size))

    @property
    def depth(self) -> int:
        """Layers that the features pass."""
        return depth(self.features, self.layer, int(self.hf_config.num_hidden_layers))

    def build(self) -> nn.Module:
        """The tower, pooled, or as much of it as gives the patches."""
        if self.features == POOLED:
            return PooledTower(self.model_class(self.hf_config))
        config = vision_config(self.config_class, {**self.config, "num_hidden_layers": self.depth})
        return PatchTower(self.model_class(config), self.class_tokens)

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accept the names of whole models (with text tower) and of vision towers, old and new."""
        names = tower_names(state)
        if self.features == POOLED:
            return names
        return {
            name: tensor
            for name, tensor in names.items()
            if not name.startswith(POOLING) and not ((found := LAYER.match(name)) and int(found[1]) >= self.depth)
        }


def vision_config(cls: type[C], values: Mapping[str, Any]) -> C:
    """A transformers configuration from checked values; transformers itself takes unknown keys without a word.

    Raises:
        ConfigurationError: unknown key, wrong type, or sizes that do not divide.
    """
    known = {field.name for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigurationError(f"config: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}")
    try:
        config = cls(**values)
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise ConfigurationError(f"config: {error}") from None
    check_range("config.image_size", config.image_size, 1, 4096)
    check_range("config.patch_size", config.patch_size, 1, config.image_size)
    if config.hidden_size % config.num_attention_heads:
        raise ConfigurationError(
            f"config.hidden_size: {config.hidden_size} is not a multiple of num_attention_heads "
            f"({config.num_attention_heads})"
        )
    return config


class PooledTower(nn.Module):
    """`[batch, 3, size, size] -> [batch, 1, dim]`: the `pooler_output` of a transformers vision tower."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled vector of each picture."""
        pooled: Tensor = self.tower(pixel_values=pixels).pooler_output
        return pooled.unsqueeze(1)


class PatchTower(nn.Module):
    """`[batch, 3, size, size] -> [batch, patches, dim]`: what the last layer of a transformers vision tower gives."""

    def __init__(self, tower: PreTrainedModel, class_tokens: int) -> None:
        super().__init__()
        for name in ("post_layernorm", "head"):
            if hasattr(tower, name):
                delattr(tower, name)
        self.tower = tower
        self.class_tokens = class_tokens

    def forward(self, pixels: Tensor) -> Tensor:
        """One vector for each patch."""
        x = self.tower.embeddings(pixels)
        # Only CLIP normalises before its first layer; the spelling is its own.
        if hasattr(self.tower, "pre_layrnorm"):
            x = self.tower.pre_layrnorm(x)
        hidden: Tensor = self.tower.encoder(inputs_embeds=x).last_hidden_state
        return hidden[:, self.class_tokens :]


def tower_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map tensor names of whole models and of bare towers (`vision_model.x`, `model.vision_model.x`, `x`) to ours."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        bare = name.removeprefix("model.")
        if bare.startswith(OTHER_PARTS) or bare.endswith("position_ids"):
            continue
        renamed[f"tower.{bare.removeprefix('vision_model.')}"] = tensor
    return renamed
