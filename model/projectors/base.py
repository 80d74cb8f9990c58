"""The interface of projectors: encoder features -> soft tokens of the language model.

How many tokens a medium becomes follows from the configuration alone (the projector's and the encoder's length), so the
prompt, the cache of the engine and the trainer know it before any weight is loaded.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from model.errors import ConfigurationError
from model.fields import check_range

MAX_TOKENS = 4096


class Projector(nn.Module, ABC):
    """`[batch, length, dim] -> [batch, tokens, llm_hidden]`; `tokens` is the same for every medium of a modality."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Project a batch of features of one modality."""


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig(ABC):
    """What identifies a projector; subclasses are one per type."""

    type: ClassVar[str]

    tokens: int | None = None
    """Soft tokens per medium."""

    def __post_init__(self) -> None:
        if self.tokens is not None:
            check_range("tokens", self.tokens, 1, MAX_TOKENS)

    @abstractmethod
    def count(self, length: int | None) -> int:
        """Soft tokens per medium, from features of `length` vectors (None: it depends on the medium).

        Raises:
            ConfigurationError: this projector cannot make `tokens` of so many vectors; names both numbers.
        """

    @abstractmethod
    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module for features `[length, dim]` and a language model of width `hidden_size`.

        Raises:
            ConfigurationError: this projector cannot take features of that shape.
        """


def checked_count(config: ProjectorConfig, made: int, length: int) -> int:
    """The number of tokens `made` from `length` vectors, if it is what the configuration says or leaves open.

    Raises:
        ConfigurationError: it is another one, or more than any prompt holds.
    """
    if config.tokens not in (None, made):
        raise ConfigurationError(
            f"tokens: {config.tokens}, but {config.type} makes {made} of the encoder's {length} vectors; "
            "leave tokens out, or change the encoder"
        )
    check_range("tokens", made, 1, MAX_TOKENS)
    return made


def fixed_length(config: ProjectorConfig, length: int | None) -> int:
    """`length`, for projectors that make tokens of each vector.

    Raises:
        ConfigurationError: the encoder gives more vectors for one medium than for another.
    """
    if length is None:
        raise ConfigurationError(f"type: {config.type} needs the same number of vectors for every medium")
    return length
