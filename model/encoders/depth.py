"""One pooled vector or a sequence, and then of which layer: the choice that all transformer encoders share."""

from model.errors import ConfigurationError
from model.fields import check_choice, check_range

POOLED = "pooled"
# LLaVA, Mipha and MMMModal take the last layer but one.
LAYER = -2


def check_features(features: str, layer: int | None, *, sequence: str, layers: int) -> None:
    """Check the fields `features` (`pooled`, or what `sequence` is called) and `layer` (from the end, -1 the last).

    Raises:
        ConfigurationError: another word, a layer that does not exist, or one without a sequence.
    """
    check_choice("features", features, (POOLED, sequence))
    if layer is not None:
        check_range("layer", layer, -layers, -1)
        if features == POOLED:
            raise ConfigurationError(f"layer: {layer} goes with features: {sequence}")
    elif features != POOLED and layers < -LAYER:
        raise ConfigurationError(f"layer: the last but one of {layers} layers does not exist; give layer: -1")


def depth(features: str, layer: int | None, layers: int) -> int:
    """How many layers the features pass."""
    return layers if features == POOLED else layers + 1 + (LAYER if layer is None else layer)
