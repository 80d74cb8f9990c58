"""The features of every encoder are those that its `version` stands for, or else old caches would be wrong unseen.

For fixed media and weights that follow a formula, a few numbers of what comes out of decoding and preprocessing and of
the encoder are recorded. If a change of code or of a library moves them, raise `version` of that family and run

    python -m tests.training.cache.test_versions
"""

import io
import json
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model.encoders import FAMILIES, encoder_config
from model.media import decode_audio, decode_image
from tests.support.tiny import ENCODERS

GOLDEN = Path(__file__).parent / "golden" / "features.json"
# Half precision keeps this much; other processors differ by less.
TOLERANCE = 2e-3
NUMBERS = 12


def picture() -> bytes:
    """Waves of colour on a transparent ground, 97 x 61."""
    y, x = np.mgrid[:61, :97].astype(np.float64)
    waves = [127 + 120 * np.sin(x / a + y / b) for a, b in ((5, 9), (11, 4), (7, 23))]
    alpha = np.where((x // 16 + y // 16) % 3 == 0, 80, 255)
    buffer = io.BytesIO()
    Image.fromarray(np.stack([*waves, alpha], axis=-1).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def sound() -> bytes:
    """0.7 s of two rising tones, stereo, at 22.05 kHz: it has to be mixed and resampled."""
    time = np.arange(int(0.7 * 22_050)) / 22_050
    channels = [0.3 * np.sin(2 * np.pi * (pitch + 400 * time) * time) for pitch in (220, 700)]
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(22_050)
        file.writeframes((np.stack(channels, axis=-1) * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def some(tensor: Tensor) -> dict[str, Any]:
    """Shape, mean, spread and a few values of a tensor."""
    flat = tensor.flatten().double()
    places = torch.linspace(0, len(flat) - 1, NUMBERS).long()
    values = [flat.mean(), flat.std(), *flat[places]]
    return {"shape": list(tensor.shape), "values": [round(float(value), 5) for value in values]}


def measure(key: str) -> dict[str, Any]:
    """What the record holds for one of the tiny encoders."""
    config = encoder_config(ENCODERS[key])
    medium = decode_image(picture()) if config.modality == "image" else decode_audio(sound())
    inputs = config.preprocess(medium)
    module = config.build().eval()
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            wave = torch.sin(torch.arange(parameter.numel(), dtype=torch.float64) * 0.7 + index)
            scale = 1.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else 0.5
            parameter.copy_((wave * scale + (parameter.dim() == 1)).reshape(parameter.shape))
        features = module(inputs[None])[0]
    return {"family": config.family, "version": config.version, "inputs": some(inputs), "features": some(features)}


@pytest.mark.parametrize("key", ENCODERS)
def test_features_are_those_of_the_version(key: str) -> None:
    recorded = json.loads(GOLDEN.read_text()).get(key)
    found = measure(key)
    advice = f"(see {Path(__file__).name})"
    assert recorded is not None, f"record the features of {key} {advice}"
    assert found["version"] >= recorded["version"], f"the version of {found['family']} went back"
    same = all(
        found[part]["shape"] == recorded[part]["shape"]
        and found[part]["values"] == pytest.approx(recorded[part]["values"], rel=TOLERANCE, abs=TOLERANCE)
        for part in ("inputs", "features")
    )
    if found["version"] == recorded["version"]:
        assert same, f"{key} gives other features: raise {found['family']}'s `version` and record them {advice}"
    else:
        assert found == recorded, f"{found['family']} has a new version: record its features {advice}"


def test_every_family_is_recorded() -> None:
    assert {values["family"] for values in json.loads(GOLDEN.read_text()).values()} == set(FAMILIES)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({key: measure(key) for key in ENCODERS}, indent=1) + "\n")
    sys.exit(0)
