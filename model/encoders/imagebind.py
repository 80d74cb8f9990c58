"""ImageBind's transformer (Girdhar et al. 2023, arXiv 2305.05665): what its image and audio encoders share.

A modality's input is cut into patches; a class token goes with them through pre-norm transformer blocks; a linear head
of the class token's output is the embedding, in one space of all modalities. The published weights are one file for all
six modalities, under CC BY-NC-SA 4.0: non-commercial use only.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.encoders.base import EncoderConfig
from model.errors import ConfigurationError
from model.fields import check_range

LICENCE = "CC-BY-NC-SA-4.0"
# Of the transformer; the norm after the audio patches has torch's default.
NORM_EPS = 1e-6
# Places in the published file -> names of the module, in order of application.
PUBLISHED_NAMES = (
    ("rgbt_stem.proj.1.", "patch."),
    ("rgbt_stem.proj.", "patch."),
    ("rgbt_stem.norm_layer.", "patch_norm."),
    ("pos_embedding_helper.pos_embed", "positions"),
    ("pre_transformer_layer.0.", "pre_norm."),
    ("heads.0.", "head_norm."),
    ("heads.2.", "head."),
    ("postprocessors.1.log_logit_scale", "log_logit_scale"),
)


@dataclass(frozen=True, kw_only=True)
class ImageBindConfig(EncoderConfig):
    """One modality of ImageBind; subclasses add the defaults of ImageBind-huge, the one published size."""

    licence = LICENCE

    width: int
    """Of the transformer."""
    layers: int
    heads: int
    embedding: int = 1024
    """Size of the embedding that all modalities share."""

    def __post_init__(self) -> None:
        for name, high in (("width", 8192), ("layers", 128), ("heads", 128), ("embedding", 8192)):
            check_range(name, getattr(self, name), 1, high)
        if self.width % self.heads:
            raise ConfigurationError(f"width: {self.width} is not a multiple of heads ({self.heads})")

    @property
    def dim(self) -> int:
        """Size of the embedding."""
        return self.embedding

    @property
    def length(self) -> int:
        """One embedding."""
        return 1


def published_names(state: dict[str, Tensor], modality: str) -> dict[str, Tensor]:
    """Take one modality (`vision`, `audio`) out of the published file; names that are the module's own stay."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("modality_"):
            part, of, rest = name.removeprefix("modality_").split(".", 2)
            if of != modality:
                continue
            # Preprocessors and trunks have no names in common.
            name = rest if part in ("preprocessors", "trunks") else f"{part}.{rest}"
            for old, new in PUBLISHED_NAMES:
                if name.startswith(old):
                    name = new + name.removeprefix(old)
                    break
        renamed[name] = tensor
    return renamed


class Trunk(nn.Module):
    """Patches `[batch, patches, width]` -> embedding `[batch, embedding]` of the class token, not normalised.

    Args:
        config: sizes.
        patches: number of positions without the class token.
        pre_norm: whether a layer norm stands before the first block (vision).
        bias_kv: whether attention has a learned further key and value (all modalities but vision and text).
    """

    def __init__(self, config: ImageBindConfig, patches: int, *, pre_norm: bool, bias_kv: bool) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width) * config.width**-0.5)
        self.positions = nn.Parameter(torch.randn(1, 1 + patches, config.width) * config.width**-0.5)
        if pre_norm:
            self.pre_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, bias_kv=bias_kv) for _ in range(config.layers))
        self.head_norm = nn.LayerNorm(config.width, eps=NORM_EPS)
        self.head = nn.Linear(config.width, config.embedding, bias=False)

    def embed(self, patches: Tensor) -> Tensor:
        """Run the transformer and the head."""
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.positions
        if hasattr(self, "pre_norm"):
            x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.head(self.head_norm(x[:, 0]))
        return embedding


class Block(nn.Module):
    """Pre-norm attention and GELU MLP of four times the width, `[batch, n, width] -> [batch, n, width]`."""

    def __init__(self, width: int, heads: int, *, bias_kv: bool) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.attn = nn.MultiheadAttention(width, heads, add_bias_kv=bias_kv, batch_first=True)
        self.norm_2 = nn.LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        y = self.norm_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


class Mlp(nn.Module):
    """`[..., width] -> [..., width]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Widen, GELU, narrow."""
        return self.fc2(nn.functional.gelu(self.fc1(x)))
