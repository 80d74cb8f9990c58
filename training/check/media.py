"""What a check learns of one medium by decoding it as training would."""

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from model.encoders import EncoderConfig
from model.errors import MediaError
from model.media import DEFAULT_LIMITS, Sound, decode_audio, decode_image
from training.data import MediaRef


@dataclass(frozen=True, slots=True)
class MediumFacts:
    """Facts of one medium."""

    digest: bytes
    """First 16 bytes of the sha256 of the file."""
    size: tuple[int, int] | None = None
    """Width and height of a picture in pixels, upright."""
    seconds: float | None = None
    """Length of a sound."""
    error: str | None = None
    """Why it cannot be used."""


def probe(path: Path, modality: str, encoder: EncoderConfig | None = None) -> MediumFacts:
    """Read, hash and decode a file; an unusable one is a fact and no error.

    Args:
        path: the file.
        modality: what it should hold.
        encoder: if given, it must take the medium whole.
    """
    digest = hashlib.sha256(str(path).encode(errors="surrogateescape")).digest()[:16]
    try:
        if (size := path.stat().st_size) > DEFAULT_LIMITS.max_bytes:
            return MediumFacts(digest, error=f"{size} bytes, at most {DEFAULT_LIMITS.max_bytes} are decoded")
        data = path.read_bytes()
        digest = hashlib.sha256(data).digest()[:16]
        medium = decode_image(data) if modality == "image" else decode_audio(data)
        if encoder is not None:
            encoder.check(medium)
    except OSError as error:
        return MediumFacts(digest, error=f"cannot be read ({error.strerror})")
    except MediaError as error:
        return MediumFacts(digest, error=str(error))
    return (
        MediumFacts(digest, seconds=medium.seconds) if isinstance(medium, Sound) else MediumFacts(digest, medium.size)
    )


class Prober:
    """Probes every file once, several at a time.

    Args:
        workers: threads; decoders release the interpreter's lock.
        encoders: per modality, what must take each medium whole.
    """

    def __init__(self, workers: int, encoders: dict[str, EncoderConfig]) -> None:
        self.encoders = encoders
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="probe")
        self._known: dict[tuple[str, Path], MediumFacts | Future[MediumFacts]] = {}

    def begin(self, reference: MediaRef) -> None:
        """Start on a medium, unless it is known or is a row of a file of features."""
        key = (reference.modality, reference.path)
        if reference.row is None and key not in self._known:
            self._known[key] = self._pool.submit(
                probe, reference.path, reference.modality, self.encoders.get(reference.modality)
            )

    def facts(self, reference: MediaRef) -> MediumFacts:
        """The facts of a medium that was begun; of a row of features only what tells it from others."""
        if reference.row is not None:
            name = f"{reference.path}#{reference.row}"
            return MediumFacts(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:16])
        key = (reference.modality, reference.path)
        known = self._known[key]
        if isinstance(known, Future):
            # The future would keep what it was called with.
            known = self._known[key] = known.result()
        return known

    def close(self) -> None:
        """Stop; what was not begun is left."""
        self._pool.shutdown(cancel_futures=True)
