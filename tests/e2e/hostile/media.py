"""Pictures and sounds that were made to hurt, with the answer that each must get.

`PICTURES` and `SOUNDS`: name -> (what makes the file, HTTP status, `code` of the error). A 200 means that there is
nothing wrong with it but its looks: it costs no more than any other.
"""

import io
import struct
import zlib
from collections.abc import Callable

import av
import numpy as np
import soundfile
from PIL import Image

from tests.support.tiny import picture, picture_bytes, sound, sound_bytes

Case = tuple[Callable[[], bytes], int, str | None]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *extra: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG file of these parts, true or not; `pixels` before compression."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def small_png(*extra: bytes) -> bytes:
    return png(8, 8, (b"\0" + bytes(24)) * 8, *extra)


def saved(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def animated_png(frames: int = 20_000) -> bytes:
    """So many frames of one pixel each, after the one that is seen."""
    control = chunk(b"acTL", struct.pack(">II", frames, 0))
    first = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 8, 8, 0, 0, 1, 1, 0, 0))
    pixel = zlib.compress(b"\0\0\0\0")
    more = b"".join(
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * n + 1, 1, 1, 0, 0, 1, 1, 0, 0))
        + chunk(b"fdAT", struct.pack(">I", 2 * n + 2) + pixel)
        for n in range(frames)
    )
    whole = small_png(control, first)
    return whole[:-12] + more + whole[-12:]


def many_scans(side: int = 3500, scans: int = 2000) -> bytes:
    """A progressive JPEG file whose last scan comes again and again; each visits every block."""
    data = saved("JPEG", (side, side), progressive=True, quality=10)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def wide_gif() -> bytes:
    data = bytearray(picture_bytes(0, "GIF"))
    data[6:10] = struct.pack("<HH", 65535, 65535)
    return bytes(data)


def frame_beyond_the_canvas() -> bytes:
    data = bytearray(picture_bytes(0, "GIF"))
    at = data.index(b"\x2c", 13 + 3 * (2 << (data[10] & 7)))
    data[at + 1 : at + 9] = struct.pack("<HHHH", 60000, 60000, 5000, 5000)
    return bytes(data)


def many_frames(frames: int = 5000) -> bytes:
    file = io.BytesIO()
    pictures = [Image.new("L", (1, 1), n % 256) for n in range(frames)]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:])
    return file.getvalue()


def tiff(tags: dict[int, int], rest: bytes = b"", following: int = 0) -> bytes:
    """A TIFF file of one directory of 32-bit numbers; `rest` begins after it, which 273 and 324 may point to by 0."""
    start = 8 + 2 + 12 * len(tags) + 4
    numbers = {tag: start if tag in (273, 324) and not value else value for tag, value in tags.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(numbers.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", following) + rest


_TIFF = {256: 10, 257: 10, 258: 8, 259: 1, 262: 2, 273: 0, 277: 3, 278: 10, 279: 300}


def wide_tile() -> bytes:
    """Ten pixels square, in one tile of three quarters of a gigabyte."""
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 2, 277: 3, 322: 16_000, 323: 16_000, 324: 0, 325: 1 << 20}
    return tiff(tags, zlib.compress(bytes(300)).ljust(1 << 20, b"\0"))


def wide_webp() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 64), "red")])
    data = bytearray(file.getvalue())
    at = data.index(b"VP8X")
    data[at + 12 : at + 18] = 2 * (16382).to_bytes(3, "little")
    return bytes(data)


def bmp(width: int, height: int, compression: int = 0, bits: int = 24, data: bytes = b"") -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    palette = bytes(4 * 256) if bits == 8 else b""
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(palette)) + head + palette + data


def exif_maze() -> bytes:
    """EXIF data whose directories point to each other."""
    directory = struct.pack("<H", 1) + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8)
    file = io.BytesIO()
    picture(0).save(file, "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + directory)
    return file.getvalue()


PICTURES: dict[str, Case] = {
    "bomb: PNG of 100 million pixels": (lambda: saved("PNG", (10_000, 10_000), "1"), 400, "media_too_large"),
    "bomb: PNG, 2^31 pixels a side": (lambda: png(2**31 - 1, 2**31 - 1, b""), 400, "media_too_large"),
    "bomb: 100 MB of pixels for 64": (lambda: png(8, 8, bytes(100 << 20)), 200, None),
    "bomb: PNG text of 100 MB": (
        lambda: small_png(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20)))),
        400,
        "invalid_media",
    ),
    "bomb: PNG colour profile of 100 MB": (
        lambda: small_png(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100 << 20)))),
        400,
        "invalid_media",
    ),
    "bomb: PNG of 20,000 frames": (animated_png, 200, None),
    "bomb: JPEG of 65535 pixels a side": (
        lambda: saved("JPEG", (16, 16)).replace(b"\0\x10\0\x10\x03", b"\xff\xff\xff\xff\x03"),
        400,
        "media_too_large",
    ),
    "bomb: JPEG of 2,000 scans": (many_scans, 400, "media_too_expensive"),
    "bomb: GIF of 65535 pixels a side": (wide_gif, 400, "media_too_large"),
    "bomb: GIF frame beyond its canvas": (frame_beyond_the_canvas, 400, "media_too_large"),
    "bomb: GIF of 5,000 frames": (many_frames, 200, None),
    "bomb: TIFF tile of 768 MB": (wide_tile, 400, "media_too_large"),
    "bomb: TIFF of 2^31 pixels a side": (
        lambda: tiff({**_TIFF, 256: 2**31, 257: 2**31}),
        400,
        "media_too_large",
    ),
    "bomb: animated WebP of 16383 pixels a side": (wide_webp, 400, "media_too_large"),
    "bomb: BMP of 2^31 pixels a side": (lambda: bmp(2**31 - 1, 2**31 - 1), 400, "media_too_large"),
    "bomb: BMP of runs that end early": (
        lambda: bmp(4000, 4000, 1, 8, b"\xff\0" * 50_000 + b"\0\1"),
        400,
        "invalid_media",
    ),
    "PNG without height": (lambda: png(8, 0, b""), 400, "invalid_media"),
    "PNG of 32-bit numbers that are none": (lambda: png(8, 8, b"\0" * 8, depth=33), 400, "invalid_media"),
    "PNG with a chunk of 4 GB": (
        lambda: small_png(b"\xff\xff\xff\xffzTXtabc"),
        400,
        "invalid_media",
    ),
    "PNG cut off": (lambda: picture_bytes(0)[:-60], 400, "invalid_media"),
    "JPEG cut off": (lambda: picture_bytes(0, "JPEG")[:-200], 400, "invalid_media"),
    "WebP cut off": (lambda: picture_bytes(0, "WEBP")[:-40], 400, "invalid_media"),
    "TIFF that follows itself": (lambda: tiff(_TIFF, bytes(300), following=8), 200, None),
    "TIFF of a thousand channels": (lambda: tiff({**_TIFF, 277: 1000}, bytes(300)), 400, "invalid_media"),
    "TIFF whose pixels are elsewhere": (lambda: tiff({**_TIFF, 273: 2**31}), 400, "invalid_media"),
    "BMP upside down beyond its size": (lambda: bmp(8, -(2**31)), 400, "media_too_large"),
    "JPEG with EXIF that points to itself": (exif_maze, 200, None),
    "polyglot: PNG and ZIP": (lambda: picture_bytes(0) + b"PK\x05\x06" + bytes(18), 200, None),
    "polyglot: GIF and JavaScript": (
        lambda: b"GIF89a/*" + bytes(20) + b"*/=1;alert(1)//",
        400,
        "invalid_media",
    ),
    "polyglot: PDF and JPEG": (lambda: b"%PDF-1.7\n" + picture_bytes(0, "JPEG"), 400, "invalid_media"),
    "SVG with a script and an entity bomb": (
        lambda: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><svg>&c;<script/></svg>',
        400,
        "invalid_media",
    ),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n", 400, "invalid_media"),
    "icon": (lambda: saved("ICO", (16, 16)), 400, "invalid_media"),
    "JPEG 2000": (lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), 400, "invalid_media"),
    "a sound that says it is a picture": (lambda: sound_bytes(0), 400, "invalid_media"),
    "a pickle": (lambda: b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.", 400, "invalid_media"),
}


def wav(rate: int = 8000, channels: int = 1, samples: bytes = bytes(200), **lies: int) -> bytes:
    """A 16-bit WAV file; `size` is what its header says of the samples."""
    block = 2 * channels
    head = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block & 0xFFFF, 16)
    body = b"WAVEfmt " + struct.pack("<I", 16) + head + b"data" + struct.pack("<I", lies.get("size", len(samples)))
    return b"RIFF" + struct.pack("<I", len(body) + len(samples)) + body + samples


def floats(value: float) -> bytes:
    samples = sound(0)
    samples[100] = value
    return written(samples, "WAV", "FLOAT")


def written(samples: np.ndarray, form: str, subtype: str | None = None, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=form, subtype=subtype)
    return file.getvalue()


def silence(form: str, subtype: str | None = None, rate: int = 48_000) -> bytes:
    """Half an hour of nothing, in as few bytes as the format allows."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, subtype, format=form) as sink:
        # In pieces: its encoders take what they are given onto the stack.
        for _ in range(1800):
            sink.write(np.zeros(rate, np.int16))
    return file.getvalue()


def contained(form: str, codec: str, seconds: float = 1.0, video: bool = False) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        if video:
            moving = container.add_stream("libvpx", rate=5, width=32, height=32, pix_fmt="yuv420p")
            for packet in moving.encode(av.VideoFrame(32, 32, "yuv420p")) + moving.encode(None):
                container.mux(packet)
        samples = np.zeros((1, int(48_000 * seconds)), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, 0
        for packet in stream.encode(frame) + stream.encode(None):
            container.mux(packet)
    return file.getvalue()


def box(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", len(data) + 8 if size is None else size) + kind + data


def many_samples() -> bytes:
    """An M4A file whose table has 2^32 entries, none of which is there."""
    data = bytearray(contained("ipod", "aac"))
    at = data.index(b"stsz") + 12
    data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def nested_boxes(depth: int = 5000) -> bytes:
    data = b""
    for _ in range(depth):
        data = box(b"moov", data)
    return box(b"ftyp", b"M4A \0\0\0\0") + data


def rate_of_an_aiff(exponent: int) -> bytes:
    data = bytearray(written(sound(0), "AIFF"))
    at = data.index(b"COMM") + 16
    data[at : at + 10] = struct.pack(">HQ", exponent, 1 << 63)
    return bytes(data)


SOUNDS: dict[str, Case] = {
    "header: 2 GB of samples": (lambda: wav(size=2**31 - 1), 400, "invalid_media"),
    "header: 1,000 channels": (lambda: wav(channels=1000, samples=bytes(4000)), 400, "media_too_large"),
    "header: no channels": (lambda: wav(channels=0), 400, "invalid_media"),
    "header: 0 Hz": (lambda: wav(rate=0), 400, "invalid_media"),
    "header: 4 GHz": (lambda: wav(rate=2**32 - 1), 400, "invalid_media"),
    "header: infinite rate": (lambda: rate_of_an_aiff(0x7FFF), 400, "invalid_media"),
    "header: negative rate": (lambda: rate_of_an_aiff(0xC00E), 400, "invalid_media"),
    "NaN": (lambda: floats(np.nan), 400, "invalid_media"),
    "infinity": (lambda: floats(np.inf), 400, "invalid_media"),
    "a sample of 1e38": (lambda: floats(1e38), 400, "invalid_media"),
    "no samples": (lambda: wav(samples=b""), 400, "invalid_media"),
    "bomb: FLAC, half an hour": (lambda: silence("FLAC"), 400, "media_too_large"),
    "bomb: Vorbis, half an hour": (lambda: silence("OGG", "VORBIS", 8000), 400, "media_too_large"),
    "bomb: Opus, half an hour": (lambda: silence("OGG", "OPUS", 8000), 400, "media_too_large"),
    "bomb: MP3, half an hour": (lambda: silence("MP3", None, 8000), 400, "media_too_large"),
    "bomb: AAC, two minutes": (lambda: contained("ipod", "aac", 120), 400, "media_too_large"),
    "bomb: WebM, two minutes": (lambda: contained("webm", "libopus", 120), 400, "media_too_large"),
    "bomb: table of 2^32 entries": (many_samples, 400, "invalid_media"),
    "bomb: 5,000 boxes in each other": (nested_boxes, 400, "invalid_media"),
    "box of 2^64 bytes": (
        lambda: box(b"ftyp", b"M4A \0\0\0\0") + box(b"moov", b"\xff" * 8, size=1),
        400,
        "invalid_media",
    ),
    "element of 2^56 bytes": (lambda: b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 7, 400, "invalid_media"),
    "moving pictures": (lambda: contained("webm", "libopus", video=True), 400, "invalid_media"),
    "AAC cut off": (lambda: contained("ipod", "aac", 3)[:-3000], 400, "invalid_media"),
    "WAV cut off": (lambda: sound_bytes(0)[:-2000], 400, "invalid_media"),
    "FLAC of nothing": (lambda: b"fLaC" + b"\0" * 50, 400, "invalid_media"),
    "OGG pages of nothing": (lambda: b"OggS" * 5000, 400, "invalid_media"),
    "MP3 frames of nothing": (lambda: b"\xff\xfb\x90\x64" * 50_000, 400, "invalid_media"),
    "ID3 tag of 256 MB": (lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + bytes(100), 400, "invalid_media"),
    "a format nobody needs": (lambda: written(sound(0), "AU"), 400, "invalid_media"),
    "a picture that says it is a sound": (lambda: picture_bytes(0), 400, "invalid_media"),
    "a playlist": (lambda: b"#EXTM3U\nfile:///etc/passwd\n", 400, "invalid_media"),
    "a list of files to join": (lambda: b"ffconcat version 1.0\nfile /etc/passwd\n", 400, "invalid_media"),
    "beyond the encoder's window": (lambda: sound_bytes(0, 10.5), 400, "media_too_large"),
}
