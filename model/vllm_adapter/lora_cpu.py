"""LoRA on a CPU: every token gets its own request's adapter, and a token without one gets none.

vLLM 0.32's CPU kernels look up the adapter of each token by its slot, and -1, which means none, finds the last slot: in
a batch of requests with and without an adapter, those without would be given one. (They also copy an adapter's weights
once per token.) Here tokens are grouped by adapter, and one matrix product serves each group.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU


class LoraCpu(PunicaWrapperCPU):
    """vLLM's CPU LoRA with the products of linear layers done by groups of tokens."""

    # Slot and row numbers of the tokens of each adapter in the next forward pass.
    _groups: Sequence[tuple[int, Tensor]] = ()

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Note which tokens of the next forward pass belong to which adapter slot."""
        super().update_metadata(*args, **kwargs)
        slots = self.token_lora_indices
        self._groups = [(slot, (slots == slot).nonzero()[:, 0]) for slot in slots.unique().tolist() if slot >= 0]

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: tuple[Tensor, ...],
        lora_b_stacked: tuple[Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """Add `scale * B A x` of each token's adapter to `y` `[..., sum(output_slices)]`, in place.

        Args:
            y: outputs of the layer.
            x: its inputs `[..., width]`.
            lora_a_stacked: per slice `[slots, 1, rank, width]`.
            lora_b_stacked: per slice `[slots, 1, slice, rank]`.
            scale: 1 where the adapters' own scale is in B.
            output_slices: widths of the parts of a merged layer, such as query, key and value.
            buffer: not needed.
            kwargs: of other devices.
        """
        inputs, outputs = x.view(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        for slot, rows in self._groups:
            part = inputs[rows]
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                low = part.to(a.dtype) @ a[slot, 0].T
                added = (scale * low) @ b[slot, 0].T
                # Adapters may be padded beyond what the layer gives out, or the other way round.
                size = min(width, added.shape[1])
                outputs[rows, start : start + size] += added[:, :size].to(outputs.dtype)
                start += width

    def add_lora_logits(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: Tensor,
        lora_b_stacked: Tensor,
        scale: float,
        *,
        buffer: Tensor | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the adapters of the output layer to the logits `y` of one sampled position per request, in place.

        The log-probabilities of a prompt are asked for in the same way, but there `x` `[tokens, width]` holds the
        prompt of one request and the slots known are those of all requests: with several at a time that would end the
        engine. An adapter of the output layer has no part in them.
        """
        if x.view(-1, x.shape[-1]).shape[0] == self.sampler_indices.shape[0]:
            super().add_lora_logits(y, x, lora_a_stacked, lora_b_stacked, scale, buffer=buffer, **kwargs)
