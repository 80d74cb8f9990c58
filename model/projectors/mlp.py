"""`mlp`: one pooled vector -> N tokens by two linear layers, as in S3, optionally as a table of concepts.

With `activation: none` this is S3's projector as released (modeling/multimodal/lm/fromage.py, class ModalityAdapter):
Linear(dim, hidden), dropout, Linear(hidden, N x llm), dropout, split into N tokens; the released code constructs a ReLU
but never applies it.

With `activation: softmax` the first layer scores named concepts (in independent groups, each summing to one) and the
second holds the N tokens that each concept means to the language model: tokens = softmax(W1 x + b1) W2. That is the
shape in which a projector can start from an encoder's own class head. Concepts carry only what they name, so
`residual` adds a plain linear path for the rest. Where linear scores are not accurate enough, `score_size` hidden units
stand beside the features: W1 scores [x, gelu(Wu x + bu)]. Where one group may speak only as far as another has nothing
to say, a gate multiplies it by the probability of that nothing, so that one of the two names the medium.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor, nn

from model.errors import ConfigurationError
from model.fields import check_choice, check_range
from model.projectors.base import Projector, ProjectorConfig

ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "gelu": nn.GELU}
SOFTMAX = "softmax"
# In `gates`: a group that always speaks.
NO_GATE = -1


@dataclass(frozen=True, kw_only=True)
class MlpConfig(ProjectorConfig):
    """Two linear layers over a pooled vector."""

    type = "mlp"

    tokens: int = 4
    """Soft tokens per medium; S3 uses 4."""
    hidden_size: int | None = None
    """Width between the layers; by default the language model's (S3), with softmax the sum of `groups`."""
    activation: str = "none"
    """`none` (S3), `relu`, `gelu`, or `softmax` within each group."""
    groups: list[int] = field(default_factory=list)
    """Sizes of the softmax groups, one concept table each."""
    gates: list[int] = field(default_factory=list)
    """By group, the concept of another group whose probability scales it, counted over all groups; -1: nothing does.
    Empty: no group is scaled."""
    score_size: int | None = None
    """Hidden units that concepts are scored by, beside the features themselves; by default none."""
    dropout: float = 0.0
    """Dropout after each layer; S3 uses 0.1."""
    residual: bool = False
    """Add a linear path from the standardised features to the tokens."""
    residual_rank: int | None = None
    """Factor the residual path through this many dimensions; full rank by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("activation", self.activation, (*ACTIVATIONS, SOFTMAX))
        check_range("dropout", self.dropout, 0.0, 0.9)
        if self.hidden_size is not None:
            check_range("hidden_size", self.hidden_size, 1, 1 << 17)
        if self.score_size is not None:
            check_range("score_size", self.score_size, 1, 1 << 17)
            if not self.groups:
                raise ConfigurationError(f"score_size: {self.score_size} goes with activation softmax")
        if self.residual_rank is not None:
            check_range("residual_rank", self.residual_rank, 1, 1 << 17)
        if self.residual_rank is not None and not self.residual:
            raise ConfigurationError(f"residual_rank: {self.residual_rank} goes with residual: true")
        if bool(self.groups) != (self.activation == SOFTMAX):
            raise ConfigurationError(f"groups: {self.groups} goes with activation softmax, not {self.activation}")
        if any(not isinstance(size, int) or size < 2 for size in self.groups):
            raise ConfigurationError(f"groups: {self.groups} must be whole numbers of at least 2 concepts")
        self._check_gates()
        if self.groups and self.hidden_size not in (None, sum(self.groups)):
            raise ConfigurationError(f"hidden_size: {self.hidden_size} is not the sum of groups ({sum(self.groups)})")

    def _check_gates(self) -> None:
        if not self.gates:
            return
        if len(self.gates) != len(self.groups):
            raise ConfigurationError(f"gates: {self.gates} needs one number for each of groups ({self.groups})")
        ends = list(accumulate(self.groups))
        for group, gate in enumerate(self.gates):
            if gate == NO_GATE:
                continue
            check_range(f"gates[{group}]", gate, NO_GATE, ends[-1] - 1)
            other = bisect_right(ends, gate)
            if other == group or self.gates[other] != NO_GATE:
                raise ConfigurationError(
                    f"gates[{group}]: {gate} is a concept of groups[{other}]; take one of another group without a gate"
                )

    def count(self, length: int | None) -> int:
        """`tokens`; features must be pooled."""
        if length != 1:
            raise ConfigurationError(
                f"type: mlp makes {self.tokens} tokens of pooled features of length 1, the encoder gives "
                f"{length or 'varying'}; pool them (encoder: features: pooled) or take mlp2x_gelu, linear or conv"
            )
        return self.tokens

    def build(self, *, dim: int, length: int | None, hidden_size: int) -> Projector:
        """The module; features must be pooled."""
        self.count(length)
        return Mlp(self, dim, sum(self.groups) or self.hidden_size or hidden_size, hidden_size)


class GroupSoftmax(nn.Module):
    """Scores `[..., concepts]` -> the probability of each concept in its group, times that of the group's gate."""

    def __init__(self, sizes: Sequence[int], gates: Sequence[int] = ()) -> None:
        super().__init__()
        self.sizes = list(sizes)
        self.gates = list(gates)

    def forward(self, scores: Tensor) -> Tensor:
        """Each group sums to one; one with a gate, to the gate's probability."""
        groups = [group.softmax(dim=-1) for group in scores.split(self.sizes, dim=-1)]
        probabilities = torch.cat(groups, dim=-1)
        if not self.gates:
            return probabilities
        gated = [
            group if gate == NO_GATE else group * probabilities[..., gate : gate + 1]
            for group, gate in zip(groups, self.gates, strict=True)
        ]
        return torch.cat(gated, dim=-1)


class Mlp(Projector):
    """`[batch, 1, dim] -> [batch, tokens, llm_hidden]`."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: MlpConfig, dim: int, hidden: int, llm_hidden: int) -> None:
        super().__init__()
        self.config = config
        width = config.tokens * llm_hidden
        if config.score_size:
            self.units = nn.Linear(dim, config.score_size)
        self.first = nn.Linear(dim + (config.score_size or 0), hidden)
        self.second = nn.Linear(hidden, width)
        self.activation = (
            GroupSoftmax(config.groups, config.gates) if config.groups else ACTIVATIONS[config.activation]()
        )
        self.dropout = nn.Dropout(config.dropout)
        if config.residual:
            self.register_buffer("mean", torch.zeros(dim))
            self.register_buffer("scale", torch.ones(dim))
            rank = config.residual_rank
            self.residual = (
                nn.Sequential(nn.Linear(dim, rank, bias=False), nn.Linear(rank, width, bias=False))
                if rank
                else nn.Linear(dim, width, bias=False)
            )

    def concepts(self, features: Tensor) -> Tensor:
        """Activated hidden vector `[..., hidden]`: with softmax, the probability of each concept in its group."""
        if self.config.score_size:
            features = torch.cat([features, nn.functional.gelu(self.units(features))], dim=-1)
        activated: Tensor = self.activation(self.first(features))
        return activated

    def forward(self, features: Tensor) -> Tensor:
        """Split the projected vector into tokens."""
        pooled = features.squeeze(1)
        tokens = self.dropout(self.second(self.dropout(self.concepts(pooled))))
        if self.config.residual:
            tokens = tokens + self.residual((pooled - self.mean) * self.scale)
        return tokens.unflatten(-1, (self.config.tokens, -1))
