"""vLLM's own API server with our model in it, and with all that vLLM has by itself: what `overhead.py` compares with.

    python benchmarks/bare_vllm.py [flags of vLLM]

Inside of vLLM our processor replaces vLLM's cache of prepared media by a safer one, which sends a medium to the engine
every time. Here vLLM keeps its own, which sends it once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Serve."""
    from vllm.entrypoints.launchers.api_server.entry import main as serve

    from model.vllm_adapter.processing import QuartetProcessor

    QuartetProcessor.safe_cache = lambda self, cache: cache  # type: ignore[method-assign]
    serve()


# The engine's process imports this module again.
if __name__ == "__main__":
    main()
