"""Whisper's encoder (OpenAI, MIT): one averaged vector per sound, or one vector per 20 ms.

`features: pooled` runs on the sound's own length. The published pipeline pads every sound to 30 s, and a mean over 1500
mostly silent frames drowns a short word. Here the log-mel frames of the sound alone pass through the encoder (the
position table is cut to length) and are averaged.

`features: frames` pads with silence to the whole window, as published and as MMMModal uses it: every sound then has the
same number of vectors, silence included.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import WhisperConfig as HFWhisperConfig
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from model.encoders.base import EncoderConfig
from model.encoders.depth import POOLED, check_features, depth
from model.encoders.sounds import check_seconds, silence
from model.errors import ConfigurationError
from model.fields import check_range
from model.media import Sound, resample

SAMPLING_RATE = 16_000
HOP = 160
FRAMES_PER_POSITION = 2
FRAMES = "frames"
# Below this the log-mel spectrogram is all border effect.
MIN_SECONDS = 0.1

# OpenAI's names -> transformers' names, in order of application.
OPENAI_NAMES = (
    ("encoder.blocks.", "layers."),
    ("encoder.ln_post.", "layer_norm."),
    ("encoder.positional_embedding", "embed_positions.weight"),
    ("encoder.", ""),
    (".attn_ln.", ".self_attn_layer_norm."),
    (".mlp_ln.", ".final_layer_norm."),
    (".attn.query.", ".self_attn.q_proj."),
    (".attn.key.", ".self_attn.k_proj."),
    (".attn.value.", ".self_attn.v_proj."),
    (".attn.out.", ".self_attn.out_proj."),
    (".mlp.0.", ".fc1."),
    (".mlp.2.", ".fc2."),
)


@dataclass(frozen=True, kw_only=True)
class WhisperConfig(EncoderConfig):
    """Whisper's encoder; the defaults are tiny(.en)."""

    family = "whisper"
    modality = "audio"
    licence = "MIT"

    d_model: int = 384
    layers: int = 4
    heads: int = 6
    ffn_dim: int = 1536
    mel_bins: int = 80
    max_positions: int = 1500
    """Positions of the encoder; two 10 ms frames each, so 1500 are 30 s."""
    features: str = POOLED
    """`pooled`: the mean over the sound's own length; `frames`: every position of the whole window."""
    layer: int | None = None
    """With `frames`: the layer whose output they are, counted from the end; -1 is the last one, after its final norm.
    By default -2, as in MMMModal; later layers are not built and need no weights."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of transformers' `WhisperConfig`."""

    def __post_init__(self) -> None:
        for name, high in (("d_model", 8192), ("layers", 128), ("heads", 128), ("ffn_dim", 65536), ("mel_bins", 256)):
            check_range(name, getattr(self, name), 1, high)
        check_range("max_positions", self.max_positions, 8, 1500)
        if self.d_model % self.heads:
            raise ConfigurationError(f"d_model: {self.d_model} is not a multiple of heads ({self.heads})")
        check_features(self.features, self.layer, sequence=FRAMES, layers=self.layers)
        known = {item.name for item in dataclasses.fields(HFWhisperConfig)} - set(self._own_fields())
        unknown = sorted(set(self.extra) - known)
        if unknown:
            raise ConfigurationError(f"extra: unknown key {unknown[0]!r}; known keys are {', '.join(sorted(known))}")

    @property
    def dim(self) -> int:
        """Width of the encoder."""
        return self.d_model

    @property
    def length(self) -> int:
        """One averaged vector, or one for each position of the window."""
        return 1 if self.features == POOLED else self.max_positions

    @property
    def depth(self) -> int:
        """Layers that the features pass."""
        return depth(self.features, self.layer, self.layers)

    @property
    def max_seconds(self) -> float:
        """Longest sound in seconds: 30 for the published models."""
        return self.max_positions * FRAMES_PER_POSITION * HOP / SAMPLING_RATE

    def check(self, medium: Sound) -> None:
        """Refuse a sound longer than `max_seconds`; it is never cut silently."""
        check_seconds(medium, self.max_seconds)

    def preprocess(self, medium: Sound) -> Tensor:
        """Mono sound -> log-mel `[mel_bins, frames]`, 10 ms each, of its own length (an even number) or the window's.

        Raises:
            MediaLimitError: longer than `max_seconds`.
        """
        self.check(medium)
        step = HOP * FRAMES_PER_POSITION
        window = self.max_positions * step
        samples = resample(medium, SAMPLING_RATE).samples[:window]
        wanted = window if self.features == FRAMES else max(len(samples), int(MIN_SECONDS * SAMPLING_RATE))
        wanted += -wanted % step
        samples = np.pad(samples, (0, wanted - len(samples)))
        mel = feature_extractor(self.mel_bins)(
            samples, sampling_rate=SAMPLING_RATE, padding=False, truncation=False, return_tensors="np"
        )["input_features"][0]
        return torch.from_numpy(np.ascontiguousarray(mel, dtype=np.float32))

    def example(self) -> Sound:
        """Silence of the longest accepted length."""
        return silence(self.max_seconds, SAMPLING_RATE)

    def build(self) -> nn.Module:
        """The encoder with mean pooling, or as much of it as gives the frames."""
        config = HFWhisperConfig(**{**self._own_fields(), "encoder_layers": self.depth}, **self.extra)
        return WhisperFeatures(config, pooled=self.features == POOLED, norm=self.depth == self.layers)

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Accept OpenAI's, transformers' full-model and transformers' encoder names; the decoder is left out."""
        renamed: dict[str, Tensor] = {}
        unused = tuple(f"layers.{index}." for index in range(self.depth, self.layers))
        unused += ("layer_norm.",) if unused else ()
        for name, tensor in state.items():
            stripped = name.removeprefix("model.")
            if stripped.startswith(("decoder.", "proj_out.")):
                continue
            for old, new in OPENAI_NAMES:
                stripped = stripped.replace(old, new)
            if stripped.startswith(unused):
                continue
            renamed[f"encoder.{stripped}"] = tensor.float()
        return renamed

    def _own_fields(self) -> dict[str, int]:
        """Our fields under transformers' names."""
        return {
            "d_model": self.d_model,
            "encoder_layers": self.layers,
            "encoder_attention_heads": self.heads,
            "encoder_ffn_dim": self.ffn_dim,
            "num_mel_bins": self.mel_bins,
            "max_source_positions": self.max_positions,
        }


class WhisperFeatures(nn.Module):
    """`[batch, mel_bins, frames] -> [batch, frames / 2, d_model]`, or with `pooled` their mean, `[batch, 1, d_model]`.

    Args:
        config: with as many layers as the features pass.
        pooled: whether to average over the positions.
        norm: whether the final layer norm belongs to the features.
    """

    def __init__(self, config: HFWhisperConfig, *, pooled: bool, norm: bool) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(config)
        self.pooled = pooled
        if not norm:
            self.encoder.layer_norm = nn.Identity()

    def forward(self, mel: Tensor) -> Tensor:
        """Run the published layers on however many frames there are."""
        encoder = self.encoder
        x = nn.functional.gelu(encoder.conv1(mel))
        x = nn.functional.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        for layer in encoder.layers:
            x = layer(x, attention_mask=None)
            x = x[0] if isinstance(x, tuple) else x
        x = encoder.layer_norm(x)
        return x.mean(dim=1, keepdim=True) if self.pooled else x


@lru_cache(maxsize=4)
def feature_extractor(mel_bins: int) -> WhisperFeatureExtractor:
    """The published log-mel extraction; building its filter bank is worth caching."""
    return WhisperFeatureExtractor(feature_size=mel_bins, sampling_rate=SAMPLING_RATE)
