"""Which precision a language model is computed in: what the recipe says, or what the machine is fast in."""

AUTO = "auto"
DTYPES = ("bfloat16", "float16", "float32")


def resolve(dtype: str) -> str:
    """`auto` -> `bfloat16` where the machine multiplies in it, else `float32`; any other name as it is.

    A processor without instructions for it takes eight times as long for a product of bfloat16 matrices as for one of
    float32. What is frozen is not changed by the wider numbers: they hold the same values.
    """
    if dtype != AUTO:
        return dtype
    # Here, so that who has no choice to make need not wait for it.
    import torch

    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # What torch itself asks before it hands such a product to oneDNN.
        fast = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return "bfloat16" if fast else "float32"
