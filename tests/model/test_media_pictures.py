"""Decoding pictures: formats, orientation, transparency, limits, and hostile bytes."""

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import MediaError, MediaLimitError
from model.media import MediaLimits, decode_data_url, decode_image
from tests.support.tiny import picture, picture_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width, height, bits=8, colour=2):
    """A PNG that promises `width` x `height` pixels and holds ten bytes of them."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(kind):
    image = picture(2)
    decoded = decode_image(saved(image, kind))
    assert decoded.mode == "RGB"
    assert decoded.size == image.size
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(image, dtype=int)).mean()
    assert difference < (1 if kind in ("PNG", "BMP", "TIFF") else 20)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "YCbCr", "LAB", "HSV"])
def test_modes(mode):
    kind = "PNG" if mode in ("L", "LA", "P", "RGBA", "1") else "TIFF"
    image = picture(2).convert(mode) if mode != "LAB" else Image.new("LAB", (5, 5), (128, 0, 0))
    if mode == "HSV":
        image, kind = picture(2).convert("CMYK"), "JPEG"
    assert decode_image(saved(image, kind)).mode == "RGB"


def test_sixteen_bits_per_pixel_keep_their_greys():
    ramp = np.linspace(0, 65_535, 256).astype(np.uint16)[None].repeat(4, 0)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode_image(saved(Image.fromarray(ramp), kind)))
        assert np.abs(decoded[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    with pytest.raises(MediaError, match="32 bits per pixel"):
        decode_image(saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(kind, orientation):
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = (255, 0, 0)
    upright[:16, 24:] = (0, 255, 0)
    # How a camera stores a picture that viewers turn back.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = Image.fromarray(upright)
    if orientation > 1:
        image = image.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_image(saved(image, kind, exif=exif, **({"quality": 95} if kind != "PNG" else {})))
    assert decoded.size == (48, 32)
    red, green, black = (decoded.getpixel(xy) for xy in ((8, 6), (40, 6), (24, 26)))
    assert red[0] > 200 > 60 > red[1]
    assert green[1] > 200 > 60 > green[0]
    assert max(black) < 60


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_damage_the_picture():
    good = saved(picture(0), "JPEG")
    segment = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(40))
    data = good[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + good[2:]
    assert decode_image(data).tobytes() == decode_image(good).tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_on_white(mode):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))
    if mode == "P":
        image = image.convert("P")
        image.info["transparency"] = image.getpixel((3, 3))
        if image.getpixel((0, 0)) == image.getpixel((3, 3)):
            image.putpixel((0, 0), 1 if image.getpixel((3, 3)) != 1 else 2)
        data = saved(image, "PNG", transparency=image.getpixel((3, 3)))
    else:
        data = saved(image.convert(mode))
    decoded = decode_image(data)
    assert decoded.getpixel((3, 3)) == (255, 255, 255)
    assert decoded.getpixel((0, 0)) != (255, 255, 255)


def test_half_transparent_pixels_are_mixed():
    decoded = decode_image(saved(Image.new("RGBA", (2, 2), (255, 0, 0, 128))))
    assert decoded.getpixel((0, 0)) == pytest.approx((255, 127, 127), abs=1)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode_image(data).getpixel((2, 2)) == (255, 0, 0)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated(kind):
    data = saved(picture(1, (200, 150)), kind)
    for part in (0.9, 0.5, 0.1):
        with pytest.raises(MediaError):
            decode_image(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"\0", b"hello", b"<svg/>", b"%PDF-1.4", b"\x89PNG\r\n\x1a\n"])
def test_not_a_picture(data):
    with pytest.raises(MediaError):
        decode_image(data)


def test_messages_say_what_to_do():
    with pytest.raises(MediaError, match=r"the picture is empty \(0 bytes\)"):
        decode_image(b"")
    with pytest.raises(MediaError, match="not a picture: send one of PNG, JPEG"):
        decode_image(b"hello")
    with pytest.raises(MediaError, match="damaged or truncated"):
        decode_image(picture_bytes()[:-40])
    with pytest.raises(MediaLimitError, match="the picture has 99 bytes, at most 10 are decoded"):
        decode_image(b"x" * 99, MediaLimits(max_bytes=10))
    with pytest.raises(MediaLimitError, match="48x40 pixels, at most 1919 are decoded"):
        decode_image(picture_bytes(), MediaLimits(max_pixels=48 * 40 - 1))
    assert decode_image(picture_bytes(), MediaLimits(max_pixels=48 * 40)).size == (48, 40)


@pytest.mark.parametrize(("width", "height"), [(5001, 5000), (60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)])
def test_bombs_are_refused_before_decoding(width, height, monkeypatch):
    from PIL import ImageFile

    def load(self):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(MediaLimitError, match="pixels"):
        decode_image(png_header(width, height))


def test_webp_bomb_is_refused_before_decoding():
    canvas = struct.pack("<I", 1 << 14)[:3]
    chunk = b"VP8X" + struct.pack("<I", 10) + bytes([2, 0, 0, 0]) + canvas + canvas
    with pytest.raises(MediaError):
        decode_image(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (0, 0)])
def test_no_pixels(width, height):
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIIIII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    for data in (png_header(width, height), bmp):
        with pytest.raises(MediaError):
            decode_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_hostile_bytes_only_raise_media_errors(data):
    kind = data.draw(st.sampled_from((*FORMATS, None)))
    if kind is None:
        payload = data.draw(st.binary(max_size=300))
    else:
        mutated = bytearray(picture_bytes(0, kind, (24, 20)))
        for _ in range(data.draw(st.integers(1, 8))):
            mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
        payload = bytes(mutated[: data.draw(st.integers(0, len(mutated)))] if data.draw(st.booleans()) else mutated)
    try:
        image = decode_image(payload, MediaLimits(max_pixels=100_000))
    except MediaError:
        pass
    else:
        assert image.mode == "RGB"
        assert min(image.size) > 0
        assert image.size[0] * image.size[1] <= 100_000


def test_data_url():
    assert decode_data_url("data:image/png;base64,aGk=") == b"hi"
    assert decode_data_url("data:;base64,") == b""
    for url in ("http://example.org/a.png", "data:image/png,aGk=", "data:image/png;base64", "data:a;base64,a!b=", ""):
        with pytest.raises(MediaError):
            decode_data_url(url)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=40))
def test_any_data_url_only_raises_media_errors(text):
    for url in (text, f"data:{text}", f"data:image/png;base64,{text}"):
        with suppress(MediaError):
            assert isinstance(decode_data_url(url), bytes)


def tiled(side: int) -> bytes:
    """Ten white pixels square as a TIFF file, in one tile that is `side` pixels square."""
    tags = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 0, 325: side * side}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"\xff" * (side * side)


def test_a_tile_counts_as_a_picture():
    limits = MediaLimits(max_pixels=32 * 32)
    assert np.asarray(decode_image(tiled(32), limits)).tolist() == np.full((10, 10, 3), 255).tolist()
    with pytest.raises(MediaLimitError, match="in tiles of 48x48 pixels, at most 1024"):
        decode_image(tiled(48), limits)
