"""Frozen encoders: one file per family, found by name.

`encoder_config({"family": "whisper", ...})` gives the checked configuration of any of them. To add a family, write one
file with an `EncoderConfig` subclass and name it in `FAMILIES`.
"""

from collections.abc import Mapping
from typing import Any

from model.encoders.base import EncoderConfig, encode, load_state
from model.encoders.clip import ClipConfig
from model.encoders.efficientnet import EfficientNetConfig
from model.encoders.imagebind_audio import ImageBindAudioConfig
from model.encoders.imagebind_image import ImageBindImageConfig
from model.encoders.siglip import SiglipConfig
from model.encoders.whisper import WhisperConfig
from model.fields import from_choice

FAMILIES: dict[str, type[EncoderConfig]] = {
    config.family: config
    for config in (
        EfficientNetConfig,
        ClipConfig,
        ImageBindAudioConfig,
        ImageBindImageConfig,
        SiglipConfig,
        WhisperConfig,
    )
}

__all__ = ["FAMILIES", "EncoderConfig", "encode", "encoder_config", "load_state"]


def encoder_config(values: Mapping[str, Any], *, where: str = "encoder") -> EncoderConfig:
    """The checked configuration of the family that `values["family"]` names.

    Raises:
        ConfigurationError: unknown family, unknown key or impossible value, naming its path.
    """
    return from_choice(FAMILIES, values, key="family", where=where)
