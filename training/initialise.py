"""Starts of a projector: random, ridge, or names.

`ridge` fits, in closed form, the linear map from features to the embeddings of the answer's first tokens. `names`
begins where the language model already understands: class scores (the encoder's own head, or a linear probe on labelled
features) choose among the embeddings of the class names' first tokens. Either start needs a fraction of the samples
that a random one needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from model.errors import ConfigurationError, DataError
from model.projectors import Projector
from model.projectors.mlp import Mlp

# Singular values below this share of the largest are rounding, not signal.
NEGLIGIBLE = 1e-6


@dataclass(frozen=True)
class ConceptGroup:
    """Concepts of which a medium shows one: scores, and the name of each (None: nothing to say)."""

    names: list[str | None]
    weight: Tensor
    """`[concepts, dim]`, or `[concepts, units]` where there are hidden ones."""
    bias: Tensor
    """`[concepts]`."""
    slot: int = 0
    """First soft token the name is written to."""
    units: tuple[Tensor, Tensor] | None = None
    """Weight `[units, dim]` and bias `[units]` of hidden units that are scored instead of the features."""


def group_slices(sizes: Sequence[int]) -> list[slice]:
    """Of each group of so many concepts, where it lies among all of them."""
    return [slice(start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


def start_projector(
    projector: Projector,
    kind: str,
    *,
    features: Tensor,
    answers: Sequence[str],
    groups: Sequence[ConceptGroup],
    tokenizer: PreTrainedTokenizerBase,
    embeddings: Tensor,
) -> None:
    """Start one projector in place.

    Args:
        projector: as built, with random weights.
        kind: `random`, `ridge` or `names`.
        features: pooled features `[n, dim]` of training media.
        answers: what is to be said about each of them.
        groups: for `names`, the concepts.
        tokenizer: the language model's.
        embeddings: its embedding table `[vocabulary, hidden]`.

    Raises:
        ConfigurationError: a projector that cannot start this way; says what it needs.
        DataError: no training media to start from.
    """
    if kind == "random":
        if isinstance(projector, Mlp) and len(features):
            standardise(projector, features)
        return
    if not isinstance(projector, Mlp):
        raise ConfigurationError(f"initialisation.type: {kind} needs a projector of type mlp")
    if not len(features):
        raise DataError(f"initialisation.type: {kind} needs training samples with one medium each")
    standardise(projector, features)
    if kind == "names":
        start_from_names(projector, groups, tokenizer, embeddings)
    else:
        start_from_ridge(projector, features, name_embeddings(answers, tokenizer, embeddings, projector.config.tokens))


def name_embeddings(
    names: Sequence[str | None], tokenizer: PreTrainedTokenizerBase, embeddings: Tensor, tokens: int, slot: int = 0
) -> Tensor:
    """Embeddings of each name's first tokens, `[names, tokens, hidden]`, from `slot` on; zero where a name ends.

    Raises:
        ConfigurationError: `slot` is not one of the `tokens`.
    """
    if not 0 <= slot < tokens:
        raise ConfigurationError(f"slot: {slot} is outside 0..{tokens - 1}, the projector's tokens")
    table = torch.zeros(len(names), tokens, embeddings.shape[1])
    for row, name in enumerate(names):
        if name:
            # Words inside a sentence begin with a space.
            ids = tokenizer(" " + name, add_special_tokens=False)["input_ids"][: tokens - slot]
            table[row, slot : slot + len(ids)] = embeddings[ids].float()
    return table


@torch.no_grad()
def start_from_names(
    projector: Mlp, groups: Sequence[ConceptGroup], tokenizer: PreTrainedTokenizerBase, embeddings: Tensor
) -> None:
    """Write concept scores into the first layer and name embeddings into the second; the residual path starts at zero.

    Raises:
        ConfigurationError: the projector's softmax groups are not those of `groups`, or it takes other features.
    """
    sizes = [len(group.names) for group in groups]
    if projector.config.groups != sizes:
        raise ConfigurationError(
            f"projector.groups: {projector.config.groups} are not the sizes of the concepts ({sizes})"
        )
    for index, group in enumerate(groups):
        if group.weight.shape != (sizes[index], projector.first.in_features):
            raise ConfigurationError(
                f"concepts[{index}]: scores of shape {list(group.weight.shape)} do not fit {sizes[index]} names and "
                f"features of size {projector.first.in_features}"
            )
    tables = [
        name_embeddings(group.names, tokenizer, embeddings, projector.config.tokens, group.slot) for group in groups
    ]
    projector.first.weight.copy_(torch.cat([group.weight for group in groups]))
    projector.first.bias.copy_(torch.cat([group.bias for group in groups]))
    projector.second.weight.copy_(torch.cat(tables).flatten(1).T)
    projector.second.bias.zero_()
    if projector.config.residual:
        residual_output(projector).weight.zero_()


def residual_output(projector: Mlp) -> nn.Linear:
    """The last layer of the residual path: zero there means no residual, and gradients still flow."""
    last = projector.residual[-1] if isinstance(projector.residual, nn.Sequential) else projector.residual
    assert isinstance(last, nn.Linear)
    return last


@torch.no_grad()
def standardise(projector: Mlp, features: Tensor) -> None:
    """Give the residual path the mean and spread of training features `[n, dim]`."""
    if projector.config.residual:
        projector.mean.copy_(features.mean(dim=0))
        projector.scale.copy_(1 / features.std(dim=0, correction=0).clamp_min(1e-3))


@torch.no_grad()
def start_from_ridge(projector: Mlp, features: Tensor, targets: Tensor, *, penalty: float = 1.0) -> None:
    """Closed-form regression from features `[n, dim]` to embeddings of the answers' first tokens `[n, tokens, hidden]`.

    The map is written as the product of the two layers by its singular value decomposition, truncated to the width
    between them; a full residual path takes it as it is. What the map leaves unused of the first layer stays random and
    has no effect yet, so that training can still use it.

    Raises:
        ConfigurationError: the activation between the layers is not linear and there is no full-rank residual path.
    """
    residual = projector.residual if projector.config.residual else None
    if not isinstance(residual, nn.Linear) and projector.config.activation != "none":
        raise ConfigurationError("initialisation.type: ridge needs activation none, or a residual path of full rank")
    weight, bias = fit_ridge(features, targets.flatten(1), penalty)
    projector.second.weight.zero_()
    if isinstance(residual, nn.Linear):
        residual.weight.copy_(weight / projector.scale)
        projector.second.bias.copy_(bias + weight @ projector.mean)
        return
    if residual is not None:
        residual_output(projector).weight.zero_()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    rank = min(projector.first.out_features, int((values > NEGLIGIBLE * values.max()).sum()))
    root = values[:rank].sqrt()
    projector.first.bias[:rank] = 0
    projector.first.weight[:rank] = root[:, None] * right[:rank]
    projector.second.weight[:, :rank] = left[:, :rank] * root
    projector.second.bias.copy_(bias)


def fit_ridge(features: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight `[width, dim]` and bias `[width]` of the linear map from `[n, dim]` to `[n, width]`, ridge-penalised."""
    x = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    solution = torch.linalg.solve(gram, x.T @ targets.double()).float()
    return solution[:-1].T, solution[-1]
