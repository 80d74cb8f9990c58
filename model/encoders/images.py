"""Picture preprocessing shared by the image encoders: resize, crop, scale, normalise."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.sight import centre_crop as centre_crop
from model.sight import resize_short_side as resize_short_side


def to_tensor(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB picture -> float32 `[3, height, width]`, `(pixel - mean) / std` with pixels, mean and std on 0..255."""
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)
    centre = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1)
    spread = torch.tensor(std, dtype=torch.float32).view(3, 1, 1)
    return ((pixels - centre) / spread).contiguous()
