"""EfficientNet-Lite (Google, Apache-2.0): a small convolutional image encoder with named classes.

Architecture: EfficientNet (Tan & Le 2019, table 1) without squeeze-and-excitation, with ReLU6 and a fixed stem and
head, as released for edge devices. Features are the 1280 pooled channels before the 1000-class head. The head itself
is not part of the encoder: `classifier` reads it from the same file, to start a projector that already knows names.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from model.encoders.base import EncoderConfig, load_state
from model.encoders.images import to_tensor
from model.fields import check_choice
from model.sight import Sight, centre_crop

# (width multiplier, depth multiplier, input pixels), from the Lite release.
VARIANTS = {
    "lite0": (1.0, 1.0, 224),
    "lite1": (1.0, 1.1, 240),
    "lite2": (1.1, 1.2, 260),
    "lite3": (1.2, 1.4, 280),
    "lite4": (1.4, 1.8, 300),
}
# (kernel, stride, expansion, channels, repeats) of the seven stages of EfficientNet-B0.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
BATCH_NORM_EPS = 1e-3
# Pixels are scaled to about -1..1 as in the release: (x - 127) / 128.
PIXEL_MEAN, PIXEL_STD = (127.0,) * 3, (128.0,) * 3
CROP_FRACTION = 0.875


@dataclass(frozen=True, kw_only=True)
class EfficientNetConfig(EncoderConfig):
    """EfficientNet-Lite, pooled: one 1280-d vector per picture."""

    family = "efficientnet"
    modality = "image"
    licence = "Apache-2.0"

    variant: str = "lite0"
    """`lite0` ... `lite4`."""

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)

    @property
    def dim(self) -> int:
        """1280 channels, whatever the variant."""
        return HEAD_CHANNELS

    @property
    def length(self) -> int:
        """One pooled vector."""
        return 1

    @property
    def image_size(self) -> int:
        """Side of the square input, pixels."""
        return VARIANTS[self.variant][2]

    @property
    def sight(self) -> Sight:
        """Short side to what is cropped to the input."""
        return Sight(size=math.ceil(self.image_size / CROP_FRACTION))

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, size, size]`: short side to size/0.875 (bicubic), centre crop, scale to about -1..1."""
        return to_tensor(centre_crop(self.sight.of(medium.convert("RGB")), self.image_size), PIXEL_MEAN, PIXEL_STD)

    def example(self) -> Image.Image:
        """A blank picture of the input size: every picture costs the same."""
        return Image.new("RGB", (self.image_size, self.image_size))

    def build(self) -> nn.Module:
        """The network without its class head."""
        return EfficientNetLite(self.variant)

    def classifier(self, weights: Path) -> tuple[Tensor, Tensor]:
        """The 1000-class head of a released checkpoint: weight `[1000, 1280]` and bias `[1000]`, float32."""
        state = load_state(weights)
        return state["_fc.weight"].float(), state["_fc.bias"].float()

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the class head and the batch counters; other names are the module's own."""
        return {
            name: tensor
            for name, tensor in state.items()
            if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
        }


class EfficientNetLite(nn.Module):
    """`[batch, 3, size, size] -> [batch, 1, 1280]`; parameter names are those of the released checkpoints."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        width, depth, _ = VARIANTS[variant]
        self._conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self._bn0 = nn.BatchNorm2d(STEM_CHANNELS, eps=BATCH_NORM_EPS)
        blocks: list[nn.Module] = []
        channels = STEM_CHANNELS
        for stage, (kernel, stride, expansion, base, repeats) in enumerate(STAGES):
            out = round_channels(base * width)
            # The Lite release keeps the first and last stage at one block whatever the depth.
            count = repeats if stage in (0, len(STAGES) - 1) else math.ceil(repeats * depth)
            for index in range(count):
                blocks.append(InvertedResidual(channels, out, kernel, stride if index == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv2d(channels, HEAD_CHANNELS, 1)
        self._bn1 = nn.BatchNorm2d(HEAD_CHANNELS, eps=BATCH_NORM_EPS)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled channels of each picture."""
        x = functional.relu6(self._bn0(self._conv_stem(pixels)))
        for block in self._blocks:
            x = block(x)
        x = functional.relu6(self._bn1(self._conv_head(x)))
        return x.mean(dim=(2, 3)).unsqueeze(1)


class InvertedResidual(nn.Module):
    """Expand (1x1), depthwise convolve, project (1x1), and add the input when shapes allow (MobileNetV2 block)."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.residual = stride == 1 and channels == out
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv2d(channels, hidden, 1)
            self._bn0 = nn.BatchNorm2d(hidden, eps=BATCH_NORM_EPS)
        self._depthwise_conv = SameConv2d(hidden, hidden, kernel, stride=stride, groups=hidden)
        self._bn1 = nn.BatchNorm2d(hidden, eps=BATCH_NORM_EPS)
        self._project_conv = SameConv2d(hidden, out, 1)
        self._bn2 = nn.BatchNorm2d(out, eps=BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, h, w] -> [batch, out, h/stride, w/stride]`."""
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class SameConv2d(nn.Conv2d):
    """Convolution without bias whose padding is TensorFlow's `SAME`: the odd pixel goes to the right and bottom."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pad by what the input size needs, then convolve."""
        pads: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[-2:]), reversed(self.kernel_size), self.stride, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(functional.pad(x, pads) if any(pads) else x)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of 8 that is at least 90 % of `channels` (the release's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return int(rounded + divisor if rounded < 0.9 * channels else rounded)
