"""How long encoders take: a `vllm.general_plugins` entry point, loaded in every process of vLLM.

The model's own code tells whoever asks (`model.vllm_adapter.timing`); on a GPU it runs in a process of its own, which
leaves its numbers in the same store as the API server.
"""

from server.metrics import definitions as metrics


def register() -> None:
    """Ask for the times of encoders in this process; calling it again changes nothing."""
    from model.vllm_adapter.timing import watch_encoders

    watch_encoders(observe)


def observe(modality: str, media: int, seconds: float) -> None:
    """Take in one step of the engine; of ranks that all encode the same media, the first one speaks."""
    from vllm.distributed.parallel_state import get_tensor_model_parallel_rank, model_parallel_is_initialized

    if not model_parallel_is_initialized() or get_tensor_model_parallel_rank() == 0:
        metrics.ENCODER_SECONDS.labels(modality).observe(seconds)
        metrics.ENCODER_BATCH.labels(modality).observe(media)
