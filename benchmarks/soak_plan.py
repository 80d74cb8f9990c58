"""What the soak test sends: a fixed mixture, the same for the same seed."""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.support.tiny import picture_bytes, sound_bytes

PATH = "/v1/chat/completions"
GOOD, MALFORMED, CANCELLED = "good", "malformed", "cancelled"
# Of every request: malformed, and left in the middle of its stream.
SHARE = 0.1
# Different media of each kind; most are sent more than once.
KINDS = 100
JSON = {"content-type": "application/json"}
Part = dict[str, Any]


@dataclass(frozen=True)
class Planned:
    """One request and what must come of it."""

    kind: str
    name: str
    """For messages."""
    body: bytes
    status: int = 200
    streams: bool = False
    media: tuple[str, ...] = ()
    """Modalities of the good ones in it."""
    refused: int = 0
    """Media that are refused one by one."""
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def plan(requests: int, seed: int, model: str) -> list[Planned]:
    """So many requests, in their order."""
    chance = random.Random(seed)
    bad = round(requests * SHARE)
    kinds = [MALFORMED] * bad + [CANCELLED] * bad
    kinds += [GOOD] * (requests - len(kinds))
    chance.shuffle(kinds)
    makers = {GOOD: _good, CANCELLED: _cancelled, MALFORMED: _malformed}
    return [makers[kind](chance, model, number) for number, kind in enumerate(kinds)]


def _good(chance: random.Random, model: str, number: int) -> Planned:
    parts = _media(chance)
    streams = chance.random() < 0.5
    body = _body(model, parts, number, stream=streams, max_tokens=chance.randint(1, 12))
    return Planned(GOOD, f"good {number}", body, streams=streams, media=_modalities(parts))


def _cancelled(chance: random.Random, model: str, number: int) -> Planned:
    parts = _media(chance)
    # Longer than it takes to leave, also where the machine is busy and the model tiny.
    body = _body(model, parts, number, stream=True, max_tokens=600, ignore_eos=True)
    return Planned(CANCELLED, f"cancelled {number}", body, streams=True, media=_modalities(parts))


def _malformed(chance: random.Random, model: str, number: int) -> Planned:
    name = chance.choice(sorted(_BAD))
    body, status, refused = _BAD[name](chance, model, number)
    return Planned(MALFORMED, f"{name} {number}", body, status, refused=refused)


def _body(model: str, parts: list[Part], number: int, **options: Any) -> bytes:
    content = [{"type": "text", "text": f"Request {number}: "}]
    for part in parts:
        content += [part, {"type": "text", "text": " and "}]
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": model, "messages": messages, "temperature": 0, **options}).encode()


def _media(chance: random.Random) -> list[Part]:
    return [
        _picture(chance.randrange(KINDS)) if chance.random() < 0.6 else _sound(chance.randrange(KINDS))
        for _ in range(chance.choice((0, 1, 1, 2, 3)))
    ]


def _modalities(parts: list[Part]) -> tuple[str, ...]:
    return tuple(part["type"].removesuffix("_url") for part in parts)


@cache
def _picture(seed: int) -> Part:
    return _url("image", picture_bytes(10_000 + seed))


@cache
def _sound(seed: int) -> Part:
    return _url("audio", sound_bytes(10_000 + seed))


def _url(modality: str, data: bytes) -> Part:
    url = "data:;base64," + base64.b64encode(data).decode()
    return {"type": f"{modality}_url", f"{modality}_url": {"url": url}}


Made = tuple[bytes, int, int]


def _with(part: Callable[[random.Random], Part]) -> Callable[[random.Random, str, int], Made]:
    """A request whose only medium is refused."""
    return lambda chance, model, number: (_body(model, [part(chance)], number), 400, 1)


def _option(**options: Any) -> Callable[[random.Random, str, int], Made]:
    """A request that is refused before its medium is looked at."""
    return lambda chance, model, number: (_body(model, [], number, **options), 400, 0)


def _noise(chance: random.Random) -> bytes:
    return bytes(chance.randrange(256) for _ in range(400))


_BAD: dict[str, Callable[[random.Random, str, int], Made]] = {
    "noise as a picture": _with(lambda chance: _url("image", b"\x89PNG\r\n\x1a\n" + _noise(chance))),
    "noise as a sound": _with(lambda chance: _url("audio", b"RIFF" + _noise(chance))),
    "half a picture": _with(lambda chance: _url("image", picture_bytes(chance.randrange(KINDS))[:90])),
    "half a header": _with(lambda chance: _url("audio", sound_bytes(chance.randrange(KINDS))[:20])),
    "broken base64": _with(lambda chance: {"type": "image_url", "image_url": {"url": "data:;base64,%%%"}}),
    "no address": _with(lambda chance: {"type": "image_url", "image_url": {}}),
    "an address that is not fetched": _with(lambda c: {"type": "image_url", "image_url": {"url": "ftp://a/b"}}),
    "no tokens": _option(max_tokens=-1),
    "too many tokens": _option(max_tokens=10**9),
    "a temperature of words": _option(temperature="hot"),
    "no JSON": lambda chance, model, number: (b'{"messages": [', 400, 0),
    "no messages": lambda chance, model, number: (json.dumps({"model": model}).encode(), 400, 0),
    "no such model": lambda chance, model, number: (_body("nobody's", [], number), 404, 0),
}
