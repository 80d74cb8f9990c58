"""What media a conversation may hold, and what one of them may cost to decode."""

from typing import Annotated, ClassVar

from pydantic import Field

from model.media import MediaLimits
from server.settings.sections import Section


class MediaSettings(Section):
    """Limits of pictures and sounds; the defaults of decoding are those of `model.media`."""

    title: ClassVar[str] = "Media"

    max_media: Annotated[int, Field(ge=0, le=4096)] = 32
    """Most media of each modality in one conversation."""
    max_image_pixels: Annotated[int, Field(ge=1, le=1_000_000_000)] = MediaLimits.max_pixels
    """Largest picture that is decoded, pixels."""
    max_audio_seconds: Annotated[float, Field(ge=0.01, le=36_000)] = MediaLimits.max_seconds
    """Longest sound that is decoded, seconds; the encoder's window is checked besides."""
    max_media_bytes: Annotated[int, Field(ge=1, le=1 << 30)] = MediaLimits.max_bytes
    """Largest file of one medium, bytes."""

    decode_workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Processes that decode media; by default one a core, four at most."""
    decode_queue: Annotated[int, Field(ge=0, le=1_000_000)] = 1024
    """Most media that wait to be decoded; a request with further ones is answered with 503."""
    decode_seconds: Annotated[float, Field(ge=0.05, le=3600)] = 1.0
    """Processor time to decode one medium, seconds; half as much again for each MiB of its file."""

    @property
    def media_limits(self) -> MediaLimits:
        """What one medium may cost to decode."""
        return MediaLimits(
            max_bytes=self.max_media_bytes, max_pixels=self.max_image_pixels, max_seconds=self.max_audio_seconds
        )
