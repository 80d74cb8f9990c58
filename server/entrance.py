"""Where every prompt enters the engine, whichever route it came by.

One wrapper around the engine's client serves all that looks at prompts and answers there: `prompts` counts media,
`limits.answers` counts tokens, `adapter` chooses LoRA.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from server.exchange import Exchange, current_exchange


@dataclass(kw_only=True)
class Entry:
    """One prompt on its way into the engine."""

    prompt: Any
    """As the engine's client takes it: processed, a request made from it, or a plain text."""
    sampling: Any
    """The engine's sampling parameters."""
    options: dict[str, Any]
    """Further arguments of `generate` by name, such as `lora_request`; a guard may change them."""
    exchange: Exchange = field(default_factory=current_exchange)
    """The request it belongs to."""


OnOutput = Callable[[Any], None]
# Sees each prompt before the engine does; what it returns, if anything, sees each output before the client does.
Guard = Callable[[Entry], OnOutput | None]


class Entrance:
    """Calls its guards, in their order, for every prompt.

    Args:
        engine_client: of an API server, before its first request; changed in place.
    """

    def __init__(self, engine_client: Any) -> None:
        self.guards: list[Guard] = []
        self._generate = engine_client.generate
        engine_client.generate = self._enter

    def _enter(self, prompt: Any, *args: Any, **options: Any) -> AsyncGenerator[Any, None]:
        sampling = options.get("sampling_params", args[0] if args else None)
        entry = Entry(prompt=prompt, sampling=sampling, options=options)
        watchers = [watcher for guard in self.guards if (watcher := guard(entry)) is not None]
        stream: AsyncGenerator[Any, None] = self._generate(prompt, *args, **entry.options)
        return _watched(stream, watchers) if watchers else stream


async def _watched(stream: AsyncGenerator[Any, None], watchers: Sequence[OnOutput]) -> AsyncGenerator[Any, None]:
    # The engine stops when its own generator is closed, which must not wait for the garbage collector.
    async with aclosing(stream):
        async for output in stream:
            for watcher in watchers:
                watcher(output)
            yield output
