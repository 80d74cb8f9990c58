"""`linear`: each vector -> one token or a few, by one linear layer.

One token per vector is LLaVA's first projector and Muffin's (64 queries -> 64 tokens); of a pooled vector it makes one
token (ModaVerse) or, with `tokens: 4`, the four of the AI Journey baseline (Linear(dim, 4 x llm), split into 4).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from model.errors import ConfigurationError
from model.fields import check_range
from model.projectors.base import MAX_TOKENS, Projector, ProjectorConfig, fixed_length


@dataclass(frozen=True, kw_only=True)
class LinearConfig(ProjectorConfig):
    """One linear layer over each vector; `tokens` is by default one per vector, and always a multiple of them."""

    type = "linear"

    def count(self, length: int | None) -> int:
        """One token per vector, or `tokens`."""
        length = fixed_length(self, length)
        tokens = self.tokens or length
        if tokens % length:
            raise ConfigurationError(f"tokens: {tokens} is not a multiple of the encoder's {length} vectors")
        check_range("tokens", tokens, 1, MAX_TOKENS)
        return tokens

    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module for features of a fixed length."""
        return Linear(dim, self.count(length) // fixed_length(self, length), hidden_size)


class Linear(Projector):
    """`[batch, length, dim] -> [batch, length * each, llm_hidden]`, the tokens of a vector side by side."""

    def __init__(self, dim: int, each: int, llm_hidden: int) -> None:
        super().__init__()
        self.each = each
        self.linear = nn.Linear(dim, each * llm_hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Project each vector."""
        return self.linear(features).unflatten(-1, (self.each, -1)).flatten(1, 2)
