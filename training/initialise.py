"""Starts of a projector: random, ridge, or names.

`ridge` fits, in closed form, the linear map from features to the embeddings of the answer's first tokens. `names`
begins where the language model already understands: class scores (the encoder's own head, or a linear probe on labelled
features) choose among the embeddings of the class names' first tokens. Either start needs a fraction of the samples
that a random one needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from model.errors import ConfigurationError
from model.projectors.mlp import Mlp


@dataclass(frozen=True)
class ConceptGroup:
    """Concepts of which a medium shows one: linear scores, and the name of each (None: nothing to say)."""

    names: list[str | None]
    weight: Tensor
    """`[concepts, dim]`."""
    bias: Tensor
    """`[concepts]`."""
    slot: int = 0
    """First soft token the name is written to."""


def name_embeddings(
    names: Sequence[str | None], tokenizer: PreTrainedTokenizerBase, embeddings: Tensor, tokens: int, slot: int = 0
) -> Tensor:
    """Embeddings of each name's first tokens, `[names, tokens, hidden]`, from `slot` on; zero where a name ends."""
    table = torch.zeros(len(names), tokens, embeddings.shape[1])
    for row, name in enumerate(names):
        if name:
            ids = tokenizer(" " + name, add_special_tokens=False)["input_ids"][: tokens - slot]
            table[row, slot : slot + len(ids)] = embeddings[ids].float()
    return table


@torch.no_grad()
def start_from_names(
    projector: Mlp, groups: Sequence[ConceptGroup], tokenizer: PreTrainedTokenizerBase, embeddings: Tensor
) -> None:
    """Write concept scores into the first layer and name embeddings into the second; the residual path starts at zero.

    Raises:
        ConfigurationError: the projector's softmax groups are not those of `groups`.
    """
    sizes = [len(group.names) for group in groups]
    if projector.config.groups != sizes:
        raise ConfigurationError(
            f"projector.groups: {projector.config.groups} are not the sizes of the concepts ({sizes})"
        )
    tokens = projector.config.tokens
    projector.first.weight.copy_(torch.cat([group.weight for group in groups]))
    projector.first.bias.copy_(torch.cat([group.bias for group in groups]))
    tables = [name_embeddings(group.names, tokenizer, embeddings, tokens, group.slot) for group in groups]
    projector.second.weight.copy_(torch.cat(tables).flatten(1).T)
    projector.second.bias.zero_()
    if projector.config.residual:
        last = projector.residual[-1] if isinstance(projector.residual, torch.nn.Sequential) else projector.residual
        torch.nn.init.zeros_(last.weight)


@torch.no_grad()
def standardise(projector: Mlp, features: Tensor) -> None:
    """Give the residual path the mean and spread of training features `[n, dim]`."""
    if projector.config.residual:
        projector.mean.copy_(features.mean(dim=0))
        projector.scale.copy_(1 / features.std(dim=0).clamp_min(1e-3))


@torch.no_grad()
def start_from_ridge(projector: Mlp, features: Tensor, targets: Tensor, *, penalty: float = 1.0) -> None:
    """Closed-form regression from features `[n, dim]` to embeddings of the answers' first tokens `[n, tokens, hidden]`.

    The map is written as the product of the two layers by its singular value decomposition, truncated to the width
    between them; a full residual path takes it as it is.

    Raises:
        ConfigurationError: the activation between the layers is not linear and there is no full-rank residual path.
    """
    x = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    gram = x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    solution = torch.linalg.solve(gram, x.T @ targets.flatten(1).double()).float()
    weight, bias = solution[:-1].T, solution[-1]
    if projector.config.residual and isinstance(projector.residual, torch.nn.Linear):
        projector.residual.weight.copy_(weight / projector.scale)
        projector.second.weight.zero_()
        projector.second.bias.copy_(bias + weight @ projector.mean)
        return
    if projector.config.activation != "none":
        raise ConfigurationError("initialisation: ridge needs activation none, or a residual path of full rank")
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    rank = min(projector.first.out_features, len(values))
    root = values[:rank].sqrt()
    projector.first.weight.zero_()
    projector.first.bias.zero_()
    projector.second.weight.zero_()
    projector.first.weight[:rank] = root[:, None] * right[:rank]
    projector.second.weight[:, :rank] = left[:, :rank] * root
    projector.second.bias.copy_(bias)
