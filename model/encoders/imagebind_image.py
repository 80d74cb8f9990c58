"""ImageBind's image encoder (Meta, CC BY-NC-SA 4.0): one unit vector per picture."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from model.encoders.clip import PIXEL_MEAN, PIXEL_STD
from model.encoders.imagebind import ImageBindConfig, Trunk, published_names
from model.encoders.images import to_tensor
from model.sight import Sight, centre_crop

IMAGE_SIZE, PATCH = 224, 14
# A picture is seen as a film of two equal frames.
FRAMES = 2


@dataclass(frozen=True, kw_only=True)
class ImageBindImageConfig(ImageBindConfig):
    """ImageBind's vision transformer, ViT-H/14; the defaults are ImageBind-huge."""

    family = "imagebind_image"
    modality = "image"

    width: int = 1280
    layers: int = 32
    heads: int = 16

    @property
    def sight(self) -> Sight:
        """Short side to the size of the input."""
        return Sight(size=IMAGE_SIZE, rounding="down")

    def preprocess(self, medium: Image.Image) -> Tensor:
        """RGB picture -> `[3, 224, 224]`: short side to 224 (bicubic), centre crop, CLIP's normalisation."""
        # Rounding as in torchvision: the longer side down, the crop's corner half to even.
        return to_tensor(
            centre_crop(self.sight.of(medium.convert("RGB")), IMAGE_SIZE, rounding=round), PIXEL_MEAN, PIXEL_STD
        )

    def example(self) -> Image.Image:
        """A blank picture of the input size: every picture costs the same."""
        return Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE))

    def build(self) -> nn.Module:
        """The vision transformer."""
        return ImageBindImage(self)

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take the vision part of the published file."""
        return published_names(state, "vision")


class ImageBindImage(Trunk):
    """`[batch, 3, 224, 224] -> [batch, 1, embedding]`, normalised."""

    def __init__(self, config: ImageBindImageConfig) -> None:
        super().__init__(config, (IMAGE_SIZE // PATCH) ** 2, pre_norm=True, bias_kv=False)
        kernel = (FRAMES, PATCH, PATCH)
        self.patch = nn.Conv3d(3, config.width, kernel, stride=kernel, bias=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embedding of each picture."""
        # Both frames are the same, so the filter's two slices add up.
        patches = nn.functional.conv2d(pixels, self.patch.weight.sum(dim=2), stride=PATCH)
        embedding = self.embed(patches.flatten(2).transpose(1, 2))
        return torch.nn.functional.normalize(embedding, dim=-1).unsqueeze(1)
