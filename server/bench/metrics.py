"""From outcomes to figures, as `vllm bench serve` defines them.

    ttft   time to first token: from sending the request to the first piece of its answer
    itl    inter-token latency: from one piece to the next; a server may put several tokens into a piece, or none in the
           first
    tpot   time per output token: from the first piece to the last, divided by the tokens after the first
    e2e    end-to-end latency: from sending the request to the last piece

Only whole answers count; throughputs are per second of the blocks that were this server's.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from server.bench.client import Outcome
from server.bench.load import Block

TIMES = ("ttft", "tpot", "itl", "e2e")
PERCENTILES = (50, 90, 99)
MODALITIES = ("image", "audio")


def times(outcome: Outcome) -> dict[str, list[float]]:
    """What one whole answer adds to each of `TIMES`, seconds."""
    first, last = outcome.arrivals[0], outcome.arrivals[-1]
    tokens = outcome.output_tokens
    return {
        "ttft": [first - outcome.started],
        "tpot": [(last - first) / (tokens - 1)] if tokens > 1 else [],
        "itl": np.diff(outcome.arrivals).tolist(),
        "e2e": [last - outcome.started],
    }


def whole(blocks: Sequence[Block]) -> list[Outcome]:
    """The answers that did not fail."""
    return [outcome for block in blocks for outcome in block.outcomes if outcome.error is None]


def summary(blocks: Sequence[Block]) -> dict[str, Any]:
    """The figures of one server at one level; None where there is nothing to divide by."""
    everything = [outcome for block in blocks for outcome in block.outcomes]
    good = whole(blocks)
    seconds = sum(block.seconds for block in blocks)
    media = {name: sum(outcome.media.get(name, 0) for outcome in good) for name in MODALITIES}
    tokens = {name: sum(outcome.media_tokens.get(name, 0) for outcome in good) for name in MODALITIES}
    sent, prompt = sum(media.values()), sum(outcome.prompt_tokens for outcome in good)
    return {
        "requests": len(everything),
        "failed": len(everything) - len(good),
        "error_rate": _ratio(len(everything) - len(good), len(everything)),
        "errors": dict(Counter(outcome.error for outcome in everything if outcome.error).most_common(10)),
        "seconds": seconds,
        "requests_per_second": _ratio(len(good), seconds),
        "output_tokens_per_second": _ratio(sum(outcome.output_tokens for outcome in good), seconds),
        "total_tokens_per_second": _ratio(prompt + sum(outcome.output_tokens for outcome in good), seconds),
        "media_per_second": {name: _ratio(count, seconds) for name, count in media.items() if count},
        "tokens_per_medium": {name: _ratio(tokens[name], count) for name, count in media.items() if count},
        "repeated_media_share": _ratio(sum(outcome.repeated for outcome in good), sent),
        "prompt_tokens_per_request": _ratio(prompt, len(good)),
        "output_tokens_per_request": _ratio(sum(outcome.output_tokens for outcome in good), len(good)),
        "cached_token_share": _ratio(sum(outcome.cached_tokens for outcome in good), prompt),
        **{name: distribution([value for one in good for value in times(one)[name]]) for name in TIMES},
        "client_cpu_share": _ratio(sum(block.cpu_seconds for block in blocks), seconds),
        "latest_start": max((outcome.late for outcome in everything), default=0.0),
    }


def distribution(values: Sequence[float]) -> dict[str, float] | None:
    """Mean and percentiles, milliseconds; None of nothing."""
    if not values:
        return None
    milliseconds = np.asarray(values) * 1000
    points = np.percentile(milliseconds, PERCENTILES)
    named = {f"p{percentile}": float(point) for percentile, point in zip(PERCENTILES, points, strict=True)}
    return {"mean": float(milliseconds.mean()), **named}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
