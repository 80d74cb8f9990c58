"""ImageBind's audio encoder (Meta, CC BY-NC-SA 4.0): one vector per sound, from clips of 2 s spread over it.

A sound of up to 2 s is one clip, padded. A longer one is heard at `clips` places, the first at its start, the last at
its end. With the published three, what lies between them in a sound of more than 6 s is not heard; more clips hear it.

Clips are placed as by the version of pytorchvideo that ImageBind's requirements name (commit 28fe037); release 0.1.5
leaves the end of the sound out. Otherwise preprocessing is that of ImageBind's data.py, with two differences for the
better: channels are mixed (it takes the first), and clips that overlap do not shift each other's mean.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model.encoders.fbank import FRAME, SAMPLING_RATE, log_mel
from model.encoders.imagebind import ImageBindConfig, Trunk, published_names
from model.encoders.sounds import check_seconds, silence
from model.fields import check_range
from model.media import Sound, resample

CLIP_SAMPLES = 2 * SAMPLING_RATE
MEL_BINS, MEL_FRAMES = 128, 204
# Of AudioSet's log-mel features, as in AST: the mean, and twice the standard deviation.
MEL_MEAN, MEL_STD = -4.268, 9.138
# Patches of 16 x 16 overlap by six.
PATCH, STRIDE = 16, 10
LOGIT_SCALE, MAX_LOGIT_SCALE = 20.0, 100.0


@dataclass(frozen=True, kw_only=True)
class ImageBindAudioConfig(ImageBindConfig):
    """ImageBind's audio spectrogram transformer; the defaults are ImageBind-huge."""

    family = "imagebind_audio"
    modality = "audio"

    width: int = 768
    layers: int = 12
    heads: int = 12
    clips: int = 3
    """Places of 2 s at which a sound is heard."""
    max_seconds: float = 30.0
    """Longest sound accepted."""
    normalise: bool = True
    """Bring the mean over the clips back to length 1, as S3 does; ImageBind itself (and ModaVerse) scales it by 20."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("clips", self.clips, 1, 64)
        check_range("max_seconds", self.max_seconds, 2, 600)

    def check(self, medium: Sound) -> None:
        """Refuse a sound longer than `max_seconds`; it is never cut silently."""
        check_seconds(medium, self.max_seconds)

    def preprocess(self, medium: Sound) -> Tensor:
        """Mono sound -> normalised log-mel features `[clips, 1, 128, 204]`.

        Raises:
            MediaLimitError: longer than `max_seconds`.
        """
        self.check(medium)
        samples = resample(medium, SAMPLING_RATE).samples
        samples = np.pad(samples, (0, max(0, FRAME - len(samples))))
        room = max(0, len(samples) - CLIP_SAMPLES)
        starts = [room * index // max(1, self.clips - 1) for index in range(self.clips)]
        # A short sound is the same clip every time.
        places = {start: samples[start : start + CLIP_SAMPLES] for start in starts}
        mel = log_mel(np.stack(list(places.values())), MEL_BINS)
        padded = np.zeros((len(places), MEL_FRAMES, MEL_BINS), dtype=np.float32)
        padded[:, : mel.shape[1]] = mel
        rows = {start: row for row, start in enumerate(places)}
        chosen = torch.from_numpy(padded)[[rows[start] for start in starts]]
        return ((chosen - MEL_MEAN) / MEL_STD).transpose(1, 2).unsqueeze(1).contiguous()

    def example(self) -> Sound:
        """Silence of the longest accepted length."""
        return silence(self.max_seconds, SAMPLING_RATE)

    def build(self) -> nn.Module:
        """The audio transformer."""
        return ImageBindAudio(self)

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take the audio part of the published file."""
        return published_names(state, "audio")


class ImageBindAudio(Trunk):
    """`[batch, clips, 1, 128, 204] -> [batch, 1, embedding]`."""

    log_logit_scale: Tensor

    def __init__(self, config: ImageBindAudioConfig) -> None:
        places = [(size - PATCH) // STRIDE + 1 for size in (MEL_BINS, MEL_FRAMES)]
        super().__init__(config, math.prod(places), pre_norm=False, bias_kv=True)
        self.patch = nn.Conv2d(1, config.width, PATCH, stride=STRIDE, bias=False)
        self.patch_norm = nn.LayerNorm(config.width)
        self.register_buffer("log_logit_scale", torch.tensor(math.log(LOGIT_SCALE)))
        self.normalise = config.normalise

    def forward(self, mel: Tensor) -> Tensor:
        """Mean embedding of the clips of each sound."""
        patches = self.patch(mel.flatten(0, 1)).flatten(2).transpose(1, 2)
        clips = nn.functional.normalize(self.embed(self.patch_norm(patches)), dim=-1)
        scale = self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)
        mean = (scale * clips).unflatten(0, mel.shape[:2]).mean(dim=1, keepdim=True)
        return nn.functional.normalize(mean, dim=-1) if self.normalise else mean
