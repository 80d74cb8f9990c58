"""`conv`: a sequence of frames -> fewer tokens by a strided convolution, GELU, Linear, as MMMModal hears.

Conv1d(dim, llm, kernel 40, stride 3) turns Whisper's 1500 frames of 20 ms into 487 tokens, each of 0.8 s (papers: arXiv
2402.11297; sizes as in the released `LlavaMultiModalProjector`).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from model.errors import ConfigurationError
from model.fields import check_range
from model.projectors.base import Projector, ProjectorConfig, checked_count, fixed_length


@dataclass(frozen=True, kw_only=True)
class ConvConfig(ProjectorConfig):
    """A convolution over time, then a linear layer; both give vectors as wide as the language model."""

    type = "conv"

    kernel: int = 40
    """Frames that one token sees."""
    stride: int = 3
    """Frames from one token to the next."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("kernel", self.kernel, 1, 4096)
        check_range("stride", self.stride, 1, 4096)

    def count(self, length: int | None) -> int:
        """As many as the kernel has whole places: `(length - kernel) // stride + 1`."""
        length = fixed_length(self, length)
        if self.kernel > length:
            raise ConfigurationError(f"kernel: {self.kernel} is longer than the encoder's {length} vectors")
        return checked_count(self, (length - self.kernel) // self.stride + 1, length)

    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module for features of a fixed length."""
        self.count(length)
        return Conv(dim, self.kernel, self.stride, hidden_size)


class Conv(Projector):
    """`[batch, length, dim] -> [batch, tokens, llm_hidden]`."""

    def __init__(self, dim: int, kernel: int, stride: int, llm_hidden: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(dim, llm_hidden, kernel, stride=stride)
        self.activation = nn.GELU()
        self.second = nn.Linear(llm_hidden, llm_hidden)

    def forward(self, features: Tensor) -> Tensor:
        """Convolve over time, then project."""
        return self.second(self.activation(self.first(features.transpose(1, 2)).transpose(1, 2)))
