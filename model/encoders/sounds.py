"""What audio encoders share: how long a sound may be."""

import numpy as np

from model.errors import MediaLimitError
from model.media import TOLERANCE_SECONDS, Sound


def check_seconds(sound: Sound, most: float) -> None:
    """Refuse a sound longer than `most` seconds; it is never cut silently.

    Raises:
        MediaLimitError: naming both lengths.
    """
    if sound.seconds > most + TOLERANCE_SECONDS:
        raise MediaLimitError(
            f"the sound lasts {sound.seconds:.1f} s, this model hears at most {most:g} s; send a shorter one"
        )


def silence(seconds: float, rate: int) -> Sound:
    """So many seconds of silence at `rate` Hz."""
    return Sound(np.zeros(int(seconds * rate), dtype=np.float32), rate)
