"""What one medium may be: the operator's limits, and no sound longer than the model hears."""

from dataclasses import replace

from model.media import MediaLimits
from server.settings import current

_windows: list[float] = []


def hear_at_most(seconds: float) -> None:
    """From now on longer sounds are refused before they are decoded; the encoder would refuse them afterwards."""
    _windows[:] = [seconds]


def media_limits() -> MediaLimits:
    """The limits of decoding."""
    limits = current().media_limits
    return replace(limits, max_seconds=min([limits.max_seconds, *_windows]))
