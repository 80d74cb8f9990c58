"""The bytes of one medium before they are decoded: their hash, and what can be refused by looking at them."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from model.media import MediaLimits, check_encoded

Modality = Literal["image", "audio"]


@dataclass(frozen=True)
class Encoded:
    """A file as it was sent."""

    data: bytes
    """Its bytes."""
    modality: Modality
    """What the request says it is."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: what identifies the medium, whoever sends it."""
        return hashlib.sha256(self.data).hexdigest()

    def check(self, limits: MediaLimits) -> None:
        """What needs no decoder.

        Raises:
            MediaError: empty, too large, or by its first bytes another kind of file.
        """
        check_encoded(self.data, self.modality, limits)
