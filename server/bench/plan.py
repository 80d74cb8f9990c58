"""What a run asks of a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.errors import ConfigurationError
from model.fields import check_range


@dataclass(frozen=True, kw_only=True)
class Target:
    """One server."""

    name: str
    """How the report calls it."""
    url: str
    """Its address, with /v1."""
    key: str | None = None
    """API key."""
    model: str | None = None
    """Model id; the first it lists when None."""
    send: Literal["base64", "file"] = "base64"
    """How media are sent: inside each request, or uploaded once and named by id."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"{self.url}: the address of a server begins with http:// or https://")


@dataclass(frozen=True, kw_only=True)
class Level:
    """One load: `concurrency` requests at a time, or arrivals at random, `rate` a second."""

    concurrency: int | None = None
    rate: float | None = None

    def __post_init__(self) -> None:
        if (self.concurrency is None) == (self.rate is None):
            raise ConfigurationError("a load is either a concurrency or a rate")
        if self.concurrency is not None:
            check_range("concurrency", self.concurrency, 1, 10_000)
        if self.rate is not None:
            check_range("rate", self.rate, 0.001, 100_000.0)

    @property
    def label(self) -> str:
        """`concurrency 16` or `rate 4/s`."""
        return f"concurrency {self.concurrency}" if self.rate is None else f"rate {self.rate:g}/s"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run: the same requests for every server, at every level."""

    levels: tuple[Level, ...]
    """Loads, one after the other."""
    requests: int = 100
    """Requests to each server at each level."""
    block: int | None = None
    """Requests to one server before it is the other's turn; by default one at concurrency 1, else as many as keep the
    server busy four times over."""
    warm_up: int = 4
    """Requests to each server at each level that are not measured."""
    text_words: int = 32
    """Words of text in a request."""
    output_tokens: int = 32
    """Tokens of every answer."""
    images: int = 0
    """Pictures in a request."""
    sounds: int = 0
    """Sounds in a request."""
    repeat_share: float = 0.0
    """Share of media that were sent before in this run."""
    image_size: tuple[int, int] = (640, 480)
    """Width and height of generated pictures, pixels."""
    sound_seconds: float = 2.0
    """Length of generated sounds."""
    folder: Path | None = None
    """Pictures and sounds to use in the place of generated ones."""
    seed: int = 0
    """Of texts, media, repeats and arrivals."""
    timeout: float = 300.0
    """Longest wait for an answer, seconds."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("requests", 1, 10_000_000),
            ("warm_up", 0, 1_000_000),
            ("text_words", 1, 1_000_000),
            ("output_tokens", 1, 1_000_000),
            ("images", 0, 10_000),
            ("sounds", 0, 10_000),
        ):
            check_range(name, getattr(self, name), low, high)
        check_range("repeat_share", self.repeat_share, 0.0, 1.0)
        check_range("sound_seconds", self.sound_seconds, 0.01, 3600.0)
        check_range("timeout", self.timeout, 0.001, 86_400.0)
        if self.block is not None:
            check_range("block", self.block, 1, 10_000_000)
        for side in self.image_size:
            check_range("image_size", side, 1, 16_384)
        if not self.levels:
            raise ConfigurationError("give at least one concurrency or rate")

    def block_of(self, level: Level) -> int:
        """Requests to one server in a row, at this level."""
        if self.block is not None:
            return min(self.block, self.requests)
        return min(1 if level.concurrency == 1 else 4 * (level.concurrency or 8), self.requests)
