"""What an answer did cost: tokens counted where they leave the engine, whoever still reads them and in which form."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from server.exchange import Exchange, current_exchange


def watch_answers(engine_client: Any) -> None:
    """Let `engine_client` note the tokens of each answer in the exchange it belongs to; changed in place."""
    generate = engine_client.generate

    def watched(prompt: Any, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        sampling = kwargs.get("sampling_params", args[0] if args else None)
        return _counted(generate(prompt, *args, **kwargs), sampling, current_exchange())

    engine_client.generate = watched


async def _counted(stream: Any, sampling: Any, exchange: Exchange) -> AsyncGenerator[Any, None]:
    pieces = getattr(getattr(sampling, "output_kind", None), "name", "") == "DELTA"
    so_far: dict[int, int] = {}
    # The engine stops when its own generator is closed, which must not wait for the garbage collector.
    async with aclosing(stream):
        async for output in stream:
            for one in getattr(output, "outputs", ()):
                length = len(one.token_ids)
                known = so_far.get(one.index, 0)
                so_far[one.index] = known + length if pieces else max(known, length)
                exchange.completion_tokens += so_far[one.index] - known
            yield output
