"""The limits of one request's key: what is taken before, with the body, with every medium, and set right after."""

import math
from collections.abc import Mapping
from typing import Any

from server.errors import ApiError, RefusedError
from server.exchange import Exchange
from server.keys.key import Key
from server.limits.counters import Counters, Standing
from server.limits.estimate import estimated_tokens

REQUESTS, TOKENS = "requests", "tokens"
# Modality -> unit.
MEDIA = {"image": "image_pixels", "audio": "audio_seconds"}


class Budget:
    """What one request takes from the limits of its key."""

    def __init__(self, key: Key, counters: Counters, exchange: Exchange) -> None:
        self._key, self._counters, self._exchange = key, counters, exchange
        self.standings: dict[str, Standing] = {}
        """The newest standing of requests and tokens, for the headers."""
        self._estimate = 0

    async def begin(self) -> None:
        """Take one request.

        Raises:
            RefusedError: 429, none is left.
        """
        await self._take(REQUESTS, 1)

    async def read(self, body: Mapping[str, Any]) -> None:
        """Take the tokens that a request will probably cost; a gate of its body.

        Raises:
            RefusedError: 429, that many are not left.
        """
        estimate = max(estimated_tokens(body, self._exchange.prompt_param), 1)
        await self._take(TOKENS, estimate)
        self._estimate = estimate

    async def medium(self, modality: str, size: int) -> None:
        """Take a decoded medium.

        Raises:
            RefusedError: 429, it is more than is left.
        """
        if modality in MEDIA:
            await self._take(MEDIA[modality], size)

    async def end(self) -> None:
        """Set right what was estimated; a request that failed before the engine costs no tokens."""
        limit = self._key.tokens_per_minute
        if limit is not None and self._estimate:
            actual = self._exchange.prompt_tokens + self._exchange.completion_tokens
            if actual != self._estimate:
                amount = actual - self._estimate
                await self._counters.correct(self._key.name, TOKENS, limit, amount, self.standings[TOKENS].ends)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`x-ratelimit-*` as OpenAI's clients read them."""
        return [
            (f"x-ratelimit-{name}-{kind}".encode(), value.encode())
            for kind, standing in self.standings.items()
            for name, value in (
                ("limit", str(standing.limit)),
                ("remaining", str(standing.remaining)),
                ("reset", f"{math.ceil(standing.reset)}s"),
            )
        ]

    async def _take(self, kind: str, cost: int) -> None:
        limit = getattr(self._key, f"{kind}_per_minute")
        if limit is None:
            return
        standing = await self._counters.take(self._key.name, kind, limit, cost)
        if kind in (REQUESTS, TOKENS):
            self.standings[kind] = standing
        if not standing.granted:
            unit = kind.replace("_", " ")
            left = f"{standing.remaining} of {limit} {unit} a minute are left, and this needs {cost}"
            advice = "it will never fit: send less" if cost > limit else "wait and try again"
            message = f"{left}; {advice}"
            raise RefusedError(ApiError(status=429, message=message, retry_after=max(standing.reset, 1.0)))
