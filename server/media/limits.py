"""What one medium may be: the operator's limits, and no more than the model hears and sees."""

from dataclasses import replace

from model.media import MediaLimits
from model.sight import Sight
from server.settings import current

_windows: list[float] = []
_sights: list[Sight] = []


def hear_at_most(seconds: float) -> None:
    """From now on longer sounds are refused before they are decoded; the encoder would refuse them afterwards."""
    _windows[:] = [seconds]


def see_as(sight: Sight) -> None:
    """From now on decoders hand over large pictures at the size at which the model sees them."""
    _sights[:] = [sight]


def model_sight() -> Sight | None:
    """What `see_as` said; None for pictures as they are."""
    return _sights[0] if _sights else None


def media_limits() -> MediaLimits:
    """The limits of decoding."""
    limits = current().media_limits
    return replace(limits, max_seconds=min([limits.max_seconds, *_windows]))
