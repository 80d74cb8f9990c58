"""The interface of projectors: encoder features -> a few soft tokens of the language model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

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

    tokens: int = 4
    """Soft tokens per medium."""

    def __post_init__(self) -> None:
        check_range("tokens", self.tokens, 1, MAX_TOKENS)

    @abstractmethod
    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module for features `[length, dim]` and a language model of width `hidden_size`.

        Raises:
            ConfigurationError: this projector cannot take features of that shape.
        """
