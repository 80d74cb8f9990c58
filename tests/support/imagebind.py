"""The published ImageBind, from the test-only package `imagebind-packaged`, without the libraries that it asks for.

What it takes from them is replaced while it is imported: layers that do nothing in evaluation mode, and functions that
only its loaders of files call. Its licence is non-commercial (CC BY-NC-SA 4.0); nothing but tests imports it.
"""

import importlib
import sys
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import torch
from torch import nn

from model.encoders.fbank import log_mel


class EvenClips:
    """pytorchvideo's `ConstantClipsPerVideoSampler` at the commit that ImageBind's requirements name."""

    def __init__(self, clip_duration: float, clips_per_video: int) -> None:
        self.duration, self.count, self.index = Fraction(clip_duration), clips_per_video, 0

    def __call__(self, _: Any, total: float, annotation: None) -> tuple[Fraction, Fraction, int, int, bool]:
        last = Fraction(max(total - self.duration, 0))
        start = last / (self.count - 1) * self.index
        self.index = (self.index + 1) % self.count
        return start, start + self.duration, 0, 0, self.index == 0


def fbank(waveform: torch.Tensor, *, num_mel_bins: int, **settings: Any) -> torch.Tensor:
    """Ours, which `test_fbank` compares with numbers from torchaudio, for the settings it is made for."""
    assert settings == {
        "htk_compat": True,
        "sample_frequency": 16_000,
        "use_energy": False,
        "window_type": "hanning",
        "dither": 0.0,
        "frame_length": 25,
        "frame_shift": 10,
    }
    return torch.from_numpy(log_mel(waveform[0].numpy(), num_mel_bins))


def modules() -> dict[str, dict[str, Any]]:
    """Module -> what ImageBind takes from it."""
    transforms = ModuleType("torchvision.transforms")
    transforms.Normalize = lambda mean, std: lambda x: (x - mean) / std  # type: ignore[attr-defined]
    kaldi = mock.Mock(fbank=fbank)
    return {
        "ftfy": {},
        "iopath.common.file_io": {"g_pathmgr": None},
        "pkg_resources": {},
        "pytorchvideo": {"transforms": None},
        "pytorchvideo.data.clip_sampling": {"ConstantClipsPerVideoSampler": EvenClips},
        "pytorchvideo.data.encoded_video": {"EncodedVideo": None},
        "timm.models.layers": {"DropPath": nn.Identity, "trunc_normal_": nn.init.trunc_normal_},
        "torchaudio": {"compliance": mock.Mock(kaldi=kaldi), "load": None},
        "torchvision": {"transforms": transforms},
        "torchvision.transforms._transforms_video": {"NormalizeVideo": None},
    }


@contextmanager
def replaced() -> Any:
    """While active, importing these modules gives the replacements."""
    made: dict[str, ModuleType] = {}
    for name, attributes in modules().items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            made.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        vars(made[name]).update(attributes)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(sys.modules, made))
        yield
        imported = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "imagebind"}
    # Leaving restores what was there before, and would forget ImageBind too.
    sys.modules.update(imported)


def published() -> ModuleType:
    """The package `imagebind`; skips the test where it is not installed."""
    if importlib.util.find_spec("imagebind") is None:
        pytest.skip("imagebind-packaged is not installed")
    if "imagebind" not in sys.modules:
        with replaced():
            importlib.import_module("imagebind")
    return sys.modules["imagebind"]
