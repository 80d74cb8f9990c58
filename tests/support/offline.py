"""Runs models in vLLM without a server, one after the other, in one process.

Called as `python -m tests.support.offline JOBS OUT`. JOBS is a JSON list of `{"model": directory, "conversations":
[messages, ...]}`; OUT receives, for each job and conversation, prompt ids, greedy token ids and log-probabilities. A
process of its own, because vLLM changes the one it runs in, and one for all jobs, because importing it takes longer
than everything else here.
"""

import gc
import json
import sys
from pathlib import Path
from typing import Any

MAX_TOKENS = 8


def answer(model: str, conversations: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory

    engine = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=1024,
        max_num_seqs=4,
        max_num_batched_tokens=2048,
        kv_cache_memory_bytes=64 << 20,
        disable_log_stats=True,
    )
    try:
        outputs = engine.chat(
            conversations,  # type: ignore[arg-type]
            SamplingParams(temperature=0, max_tokens=MAX_TOKENS, logprobs=0),
            use_tqdm=False,
        )
        return [
            {
                "prompt_ids": list(output.prompt_token_ids or []),
                "token_ids": list(output.outputs[0].token_ids),
                "logprobs": [
                    step[token].logprob
                    for token, step in zip(output.outputs[0].token_ids, output.outputs[0].logprobs or [], strict=True)
                ],
            }
            for output in outputs
        ]
    finally:
        del engine
        gc.collect()
        cleanup_dist_env_and_memory()


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps([answer(job["model"], job["conversations"]) for job in jobs]))
