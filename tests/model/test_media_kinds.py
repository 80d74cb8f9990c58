"""What a file is, by its first bytes."""

import io

import pytest
import soundfile

from model.media import IMAGE_FORMATS, modality_of
from tests.support.tiny import picture_bytes, sound


@pytest.mark.parametrize("form", IMAGE_FORMATS)
def test_pictures(form: str) -> None:
    assert modality_of(picture_bytes(0, form)[:48]) == "image"


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"])
def test_sounds(form: str) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound(0), 16_000, format=form)
    assert modality_of(buffer.getvalue()[:48]) == "audio"


@pytest.mark.parametrize(
    "beginning",
    [b"", b"\xff", b"%PDF-1.7\n", b"hello", b"RIFF\0\0\0\0AVI ", b"\0\0\0\x20ftypheic", b"PK\x03\x04", b"\0" * 48],
)
def test_anything_else(beginning: bytes) -> None:
    assert modality_of(beginning) is None
