"""Quartet inside vLLM: the only package of `model` that imports vLLM.

`register` is a `vllm.general_plugins` entry point: every vLLM process (API server, engine, workers) calls it, possibly
more than once, before it reads a model configuration. It makes names known and loads neither vLLM's model code nor any
weights: the configuration class for `model_type: quartet`, the place of the model class, and on a CPU that of LoRA.
"""

import os

MODEL_CLASS = "model.vllm_adapter.model:QuartetForConditionalGeneration"
LORA_CPU_CLASS = "model.vllm_adapter.lora_cpu.LoraCpu"


def register() -> None:
    """Make Quartet models known to transformers and vLLM; calling it again changes nothing."""
    # vLLM's engine never downloads: what it serves is a local directory, hash-checked before it starts.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from vllm import ModelRegistry

    # Importing the module registers the configuration class with transformers' AutoConfig.
    from model.configuration import ARCHITECTURE

    ModelRegistry.register_model(ARCHITECTURE, MODEL_CLASS)
    _register_lora()


def _register_lora() -> None:
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        type(current_platform).get_punica_wrapper = classmethod(lambda cls: LORA_CPU_CLASS)
