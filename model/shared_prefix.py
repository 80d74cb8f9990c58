"""What all rows of a batch begin with, computed once.

With a chat template's own system message, the tokens that every sample begins with are a third of a short one. No token
sees what comes after it, so their states are the same in every row. They are laid out once, in front of what the rows
go on with, `[1, prefix + rows * length]`, and each row attends to them and to itself. The layers do everything else
token by token and need not know. Loss and gradients are those of the plain layout, up to rounding; dropout draws for
the prefix once instead of for each row.

The attention is registered with transformers as an implementation like any other, so that any language model takes it
that takes one. It is told the layout by the shape of the mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask

IMPLEMENTATION = "shared_prefix"
# How far states may be from those of the plain layout, relatively: at least this, or so many roundings.
TOLERANCE, ROUNDINGS = 1e-4, 4.0
# Arguments of an attention that is more than softmax(q k) v: Gemma 2's cap and GPT-OSS's sinks.
UNKNOWN = ("softcap", "s_aux")


@dataclass(frozen=True)
class Layout:
    """Rows with a prefix in common, laid out one after the other."""

    prefix: int
    """Tokens that all rows begin with."""
    rows: int
    length: int
    """Tokens of a row behind the prefix."""

    def flat(self, states: Tensor) -> Tensor:
        """`[rows, prefix + length, dim]` -> `[1, prefix + rows * length, dim]`."""
        return torch.cat([states[0, : self.prefix], states[:, self.prefix :].flatten(0, 1)])[None]

    def behind(self, states: Tensor) -> Tensor:
        """What lies behind the prefix: `[1, prefix + rows * length, dim]` -> `[rows, length, dim]`."""
        return states[0, self.prefix :].unflatten(0, (self.rows, self.length))

    def positions(self, device: torch.device) -> Tensor:
        """Of every token in its row, `[1, prefix + rows * length]`."""
        whole = torch.arange(self.prefix + self.length, device=device)
        return torch.cat([whole[: self.prefix], whole[self.prefix :].repeat(self.rows)])[None]

    def mask(self, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Added to the scores of a row behind the prefix: `[1, 1, length, prefix + length]`."""
        return causal(self.length, self.prefix + self.length, dtype, device)[None, None]

    def arguments(self, embeddings: Tensor) -> dict[str, Any]:
        """What a language model is given for embeddings `[rows, prefix + length, dim]`."""
        return {
            "inputs_embeds": self.flat(embeddings),
            "attention_mask": self.mask(embeddings.dtype, embeddings.device),
            "position_ids": self.positions(embeddings.device),
            "use_cache": False,
        }


def causal(queries: int, keys: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Added to the scores of the last `queries` of `keys` tokens, `[queries, keys]`: none sees what comes after it."""
    blocked = torch.full((queries, keys), float("-inf"), dtype=dtype, device=device)
    return blocked.triu(keys - queries + 1)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention over tokens in a `Layout`, or in plain rows.

    Args:
        module: the layer that asks.
        query, key, value: `[rows, heads, tokens, dim]`; in a layout `rows` is 1. Keys and values may have fewer heads.
        attention_mask: added to the scores, `[.., queries, keys]`. Fewer queries than `query` has are those of one row
            of a layout; the further keys are its prefix.
        scaling: of the scores.
        dropout: of the weights.
        more: what transformers passes beside.

    Returns:
        `[rows, tokens, heads, dim]`, and no weights.

    Raises:
        NotImplementedError: the model's attention is more than this.
    """
    if any(more.get(name) is not None for name in UNKNOWN):
        raise NotImplementedError(f"an attention with one of {', '.join(UNKNOWN)} cannot share a prefix")
    # The compiler fuses plain products on a CPU, where the backward pass of the fused kernel is slow.
    kernel = _fused if query.is_cuda else _plain
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    length, keys = attention_mask.shape[-2:]
    if length == query.shape[-2]:
        return kernel(module, query, key, value, attention_mask, scale, dropout), None
    prefix = keys - length
    before = causal(prefix, prefix, query.dtype, query.device)[None, None]
    opening = kernel(
        module, query[..., :prefix, :], key[..., :prefix, :], value[..., :prefix, :], before, scale, dropout
    )

    def by_row(states: Tensor) -> Tensor:
        """`[1, heads, prefix + rows * length, dim]` -> `[rows, heads, length, dim]`."""
        return states[0, :, prefix:].unflatten(1, (-1, length)).transpose(0, 1)

    queries = by_row(query)

    def with_prefix(states: Tensor) -> Tensor:
        shared = states[..., :prefix, :].expand(len(queries), -1, -1, -1)
        return torch.cat([shared, by_row(states)], dim=2)

    rest = kernel(module, queries, with_prefix(key), with_prefix(value), attention_mask, scale, dropout)
    return torch.cat([opening, rest.flatten(0, 1)[None]], dim=1), None


def _plain(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, dropout: float
) -> Tensor:
    """`[rows, heads, queries, dim]` -> `[rows, queries, heads, dim]`."""
    heads, shared = query.shape[1], key.shape[1]
    # Heads that share keys are asked together, so keys need no copies.
    groups = query.unflatten(1, (shared, heads // shared))
    scores = groups.flatten(2, 3) @ key.transpose(2, 3) * scaling
    scores = scores.unflatten(2, groups.shape[2:4]) + mask[:, :, None]
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, dropout, training=module.training)
    states = (weights.flatten(2, 3) @ value).unflatten(2, groups.shape[2:4])
    return states.flatten(1, 2).transpose(1, 2).contiguous()


def _fused(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float, dropout: float
) -> Tensor:
    """`[rows, heads, queries, dim]` -> `[rows, queries, heads, dim]`."""
    states: Tensor = sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scaling, is_causal=False
    )[0]
    return states


AttentionInterface.register(IMPLEMENTATION, attend)
AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)


@contextmanager
def sharing(llm: PreTrainedModel) -> Iterator[None]:
    """Let a language model take a `Layout` for a while, its backward passes included."""
    before = llm.config._attn_implementation
    llm.set_attn_implementation(IMPLEMENTATION)
    try:
        yield
    finally:
        llm.set_attn_implementation(before)


@torch.no_grad()
def can_share(llm: PreTrainedModel, prefix: int, longest: int) -> bool:
    """Whether a language model's states are the same in a `Layout`, found by trying; its weights do not matter.

    Not so where tokens are mixed by more than attention (Mamba), positions are no argument (Bloom), or the attention
    knows more than scores and a mask (Gemma 2).

    Args:
        llm: the language model.
        prefix: tokens in common, at least 1.
        longest: of the rows; a window of attention must hold them.
    """
    window = getattr(llm.config, "sliding_window", None)
    if window is not None and longest > window:
        return False
    layout = Layout(prefix, rows=2, length=4)
    table = llm.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(table), (layout.rows, prefix + layout.length), generator=generator)
    ids[1, :prefix] = ids[0, :prefix]
    states = llm.get_input_embeddings()(ids.to(table.device))
    decoder = llm.get_decoder()
    trained = decoder.training
    decoder.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            plain = decoder(inputs_embeds=states, use_cache=False).last_hidden_state[:, prefix:]
            with sharing(llm):
                found = layout.behind(decoder(**layout.arguments(states)).last_hidden_state)
    # Whatever an architecture's own code does about a mask or positions it did not expect.
    except Exception:
        return False
    finally:
        decoder.train(trained)
    difference = (found - plain).norm() / plain.norm()
    return bool(difference <= max(TOLERANCE, ROUNDINGS * torch.finfo(plain.dtype).eps))
