"""Picture preprocessing shared by the image encoders: scale, normalise. They resize and crop by `model.sight`."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """RGB picture -> float32 `[3, height, width]`, `(pixel - mean) / std` with pixels, mean and std on 0..255."""
    pixels = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)).permute(2, 0, 1)
    centre = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1)
    spread = torch.tensor(std, dtype=torch.float32).view(3, 1, 1)
    return ((pixels - centre) / spread).contiguous()
