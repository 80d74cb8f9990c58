"""Where the media of converted samples are, and what they are called there."""

import hashlib
import io
import os
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from model.errors import DataError
from model.media import IMAGE_FORMATS, SOUND_FORMATS
from training.problems import Kind, SampleError
from training.readers.base import Medium

Files = Literal["refer", "link", "copy"]
FILES: tuple[Files, ...] = get_args(Files)
MEDIA = "media"


class MediaFolder:
    """Names media for files of samples in one folder, and brings along those that are to be there.

    Args:
        folder: of the files of samples.
        files: what happens to media that are files. `refer`: they stay where they are. `link`: hard links in `media/`,
            which take no room and outlive the originals. `copy`: copies in `media/`.
    """

    def __init__(self, folder: Path, files: Files) -> None:
        # Relative paths start at the real folder: `..` behind a link leads elsewhere than it seems.
        self.folder, self.files = folder.resolve(), files

    def place(self, medium: Medium) -> str:
        """The path of a medium as samples name it; the file is there afterwards.

        Raises:
            SampleError: bytes that are no medium, or a file that cannot be read.
            DataError: a link that cannot be made.
            OSError: `media/` cannot be written.
        """
        if medium.path is not None and self.files == "refer":
            return Path(os.path.relpath(medium.path, self.folder)).as_posix()
        suffix = _suffix(medium) if medium.path is None else medium.path.suffix.lower()
        name = content_hash(medium) + suffix
        target = self.folder / MEDIA / name
        if not target.exists():
            target.parent.mkdir(exist_ok=True)
            if medium.path is not None and self.files == "link":
                _link(medium.path, target)
            else:
                _appear(target, medium)
        return f"{MEDIA}/{name}"


def content_hash(medium: Medium) -> str:
    """The sha256 of a medium's bytes.

    Raises:
        SampleError: a file that cannot be read.
    """
    if medium.path is None:
        return hashlib.sha256(medium.data or b"").hexdigest()
    try:
        stat = medium.path.stat()
        return _file_hash(medium.path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise SampleError(Kind.UNREADABLE, f"{medium.path}: cannot be read ({error.strerror})") from None


@lru_cache(maxsize=4096)
def _file_hash(path: Path, modified: int, size: int) -> str:
    """Remembered for a while: neighbours often share a medium; time and size keep an older answer from being given."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _suffix(medium: Medium) -> str:
    """The ending for bytes, by what they are.

    Raises:
        SampleError: neither a picture nor a sound that can be decoded.
    """
    data = io.BytesIO(medium.data or b"")
    try:
        if medium.modality == "image":
            from PIL import Image

            with Image.open(data, formats=IMAGE_FORMATS) as picture:
                return f".{(picture.format or '').lower()}"
        import soundfile

        with soundfile.SoundFile(data) as sound:
            if sound.format in SOUND_FORMATS:
                return f".{sound.format.lower()}"
    # Decoders raise many kinds of errors on hostile bytes; all of them mean the same here.
    except Exception as error:
        raise SampleError(Kind.UNREADABLE, f"the {medium.modality} is unreadable ({type(error).__name__})") from None
    raise SampleError(Kind.UNREADABLE, f"{sound.format} sounds are not decoded; convert them to WAV, FLAC, OGG or MP3")


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be linked to {source} ({error.strerror}); copy the media or refer to them instead"
        ) from None


def _appear(target: Path, medium: Medium) -> None:
    """Let a file appear whole or not at all."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    if medium.path is None:
        partial.write_bytes(medium.data or b"")
    else:
        shutil.copyfile(medium.path, partial)
    partial.replace(target)
