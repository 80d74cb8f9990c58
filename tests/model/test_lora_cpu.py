"""LoRA on a CPU, token by token: its own request's adapter, or none. Imports vLLM."""

import pytest
import torch

from model.vllm_adapter import LORA_CPU_CLASS, register

RANK, WIDTH, SLICES = 3, 8, (6, 4)


@pytest.mark.parametrize("prefill", [True, False])
@pytest.mark.parametrize("requests", [(1, 1, 0, 2, 0), (0, 0, 0), (2, 2), (0, 1)])
def test_each_token_gets_its_own_adapter_or_none(requests: tuple[int, ...], prefill: bool) -> None:
    from vllm.lora.layers import LoRAMapping

    from model.vllm_adapter.lora_cpu import LoraCpu

    torch.manual_seed(0)
    wrapper = LoraCpu(max_num_batched_tokens=16, max_batches=8, device="cpu")
    mapping = LoRAMapping(index_mapping=requests, prompt_mapping=requests, is_prefill=prefill)
    wrapper.update_metadata(mapping, [1, 2], 2, 100)
    x, y = torch.randn(len(requests), WIDTH), torch.randn(len(requests), sum(SLICES))
    a = tuple(torch.randn(2, 1, RANK, WIDTH) for _ in SLICES)
    b = tuple(torch.randn(2, 1, size, RANK) for size in SLICES)
    expected = y.clone()
    for row, request in enumerate(requests):
        if request:
            delta = [b[i][request - 1, 0] @ a[i][request - 1, 0] @ x[row] for i in range(len(SLICES))]
            expected[row] += 0.5 * torch.cat(delta)
    wrapper.add_lora_linear(y, x, a, b, 0.5, SLICES)
    torch.testing.assert_close(y, expected)


def test_a_prompts_logits_beside_other_requests_are_left_alone() -> None:
    """vLLM hands the positions of one prompt over with the slots of all requests; its own code fails there."""
    from vllm.lora.layers import LoRAMapping
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    from model.vllm_adapter.lora_cpu import LoraCpu

    requests = (1, 2, 1, 2)
    a, b = torch.ones(2, 1, RANK, WIDTH), torch.ones(2, 1, 6, RANK)
    mapping = LoRAMapping(index_mapping=requests, prompt_mapping=requests, is_prefill=True)
    for kind, rows, added in ((LoraCpu, 25, 0.0), (LoraCpu, 4, float(RANK * WIDTH)), (PunicaWrapperCPU, 25, None)):
        wrapper = kind(max_num_batched_tokens=32, max_batches=8, device="cpu")
        wrapper.update_metadata(mapping, [1, 2], 2, 100)
        y = torch.zeros(rows, 6)
        if added is None:
            with pytest.raises(RuntimeError, match="does not broadcast"):
                wrapper.add_lora_logits(y, torch.ones(rows, WIDTH), a, b, 1.0)
        else:
            wrapper.add_lora_logits(y, torch.ones(rows, WIDTH), a, b, 1.0)
            assert (y == added).all()


def test_the_engine_takes_it_on_a_cpu() -> None:
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        pytest.skip("this vLLM is built for another device")
    register()
    assert current_platform.get_punica_wrapper() == LORA_CPU_CLASS
