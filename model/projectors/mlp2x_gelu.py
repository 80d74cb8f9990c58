"""`mlp2x_gelu`: each patch -> one token by Linear, GELU, Linear, as in LLaVA-1.5 and, for pictures, MMMModal.

`shuffle` makes fewer tokens: the vectors of every shuffle x shuffle square of patches are laid side by side into one
longer vector first (pixel shuffle, Shi et al. 2016, the other way round), so 24 x 24 patches become 144 tokens at 2.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from model.errors import ConfigurationError
from model.fields import check_range
from model.projectors.base import Projector, ProjectorConfig, checked_count, fixed_length


@dataclass(frozen=True, kw_only=True)
class Mlp2xGeluConfig(ProjectorConfig):
    """Two linear layers with a GELU between them over each patch; both are as wide as the language model."""

    type = "mlp2x_gelu"

    shuffle: int = 1
    """Side of the squares of patches that become one token; 1 keeps one token per patch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("shuffle", self.shuffle, 1, 64)

    def count(self, length: int | None) -> int:
        """One token for each square of patches."""
        length = fixed_length(self, length)
        side = math.isqrt(length)
        if self.shuffle > 1 and (side * side != length or side % self.shuffle):
            raise ConfigurationError(
                f"shuffle: {self.shuffle} needs a square grid of patches whose side it divides, "
                f"the encoder's {length} vectors form none"
            )
        return checked_count(self, length // self.shuffle**2, length)

    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module for features of a fixed length."""
        self.count(length)
        return Mlp2xGelu(dim, self.shuffle, hidden_size)


class Mlp2xGelu(Projector):
    """`[batch, length, dim] -> [batch, length / shuffle^2, llm_hidden]`, in reading order."""

    def __init__(self, dim: int, shuffle: int, llm_hidden: int) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.first = nn.Linear(dim * shuffle**2, llm_hidden)
        self.activation = nn.GELU()
        self.second = nn.Linear(llm_hidden, llm_hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Project each patch, or each square of patches."""
        return self.second(self.activation(self.first(squares(features, self.shuffle))))


def squares(features: Tensor, side: int) -> Tensor:
    """Vectors `[batch, n * n, dim]` of a grid -> those of its squares, `[batch, (n / side)^2, side^2 * dim]`."""
    if side == 1:
        return features
    rows = math.isqrt(features.shape[1]) // side
    grid = features.unflatten(1, (rows, side, rows, side))
    return grid.transpose(2, 3).flatten(3, 5).flatten(1, 2)
