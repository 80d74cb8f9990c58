"""Files to upload, and what belongs to every test of them."""

import io
import wave

from PIL import Image

from server.files.library import Library, Quota
from server.files.stored import NOBODY, StoredFile

AMPLE = Quota(files=1000, bytes=1 << 30)


def picture(seed: int = 0, size: int = 8) -> bytes:
    """A PNG file that no other seed gives."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (seed % 256, seed // 256 % 256, 7)).save(file, "PNG")
    return file.getvalue()


def sound(samples: int = 160) -> bytes:
    """A WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(bytes(2 * samples))
    return file.getvalue()


async def add(
    library: Library,
    data: bytes,
    owner: str = NOBODY,
    *,
    filename: str = "a.png",
    seconds: int | None = None,
    quota: Quota = AMPLE,
) -> StoredFile:
    """Upload, in three pieces."""
    async with library.stage() as staged:
        third = len(data) // 3
        for piece in (data[:third], data[third : 2 * third], data[2 * third :]):
            await staged.add(piece)
        return await library.add(owner, staged, filename=filename, purpose="vision", seconds=seconds, quota=quota)
