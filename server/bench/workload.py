"""The requests of a run: decided by the plan and its seed alone, so that two servers are asked the same.

A level begins with requests that are not measured. After them every medium is either new or, for the share that the
plan says, one that an earlier block already sent: the server has then answered a request with it.
"""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from server.bench.media import Maker, Medium, from_folder, picture, sound
from server.bench.plan import Level, Plan, Target

WORDS = (
    *("the", "a", "one", "this", "that", "green", "small", "old", "quick", "water", "house", "stone", "river"),
    *("music", "letter", "morning", "people", "market", "garden", "window", "story", "number", "answer", "walks"),
    *("sings", "turns", "opens", "finds", "brings", "calls", "waits", "before", "after", "under", "near"),
)
QUESTION = "What is this about?"
# How many media may be remembered by their bytes, so that a repeated one is not made again.
REMEMBERED = 4096


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request, whoever it is sent to."""

    text: str
    """What it says."""
    media: tuple[tuple[str, int], ...]
    """Modality and number of each medium; the number says which one it is."""
    repeated: int = 0
    """How many of them were sent before."""


class Workload:
    """Makes the requests of a plan, and their bodies."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        size, seconds = plan.image_size, plan.sound_seconds
        makers: dict[str, Maker] = {
            "image": lambda number: picture(number, size),
            "audio": lambda number: sound(number, seconds),
        }
        self.counts = {"image": plan.images, "audio": plan.sounds}
        if plan.folder is not None:
            makers |= {name: from_folder(plan.folder, name) for name, count in self.counts.items() if count}
        self.medium = lru_cache(REMEMBERED)(lambda modality, number: makers[modality](number))

    def level(self, index: int, level: Level) -> Iterator[list[Asked]]:
        """The blocks of the level with this number; the first is the warm-up, and empty if there is none."""
        plan = self.plan
        rng = np.random.default_rng((plan.seed, index))
        # Media of different levels and seeds are different ones.
        following = dict.fromkeys(self.counts, (plan.seed * 1_000 + index) * 1_000_000)
        counted = dict.fromkeys(self.counts, 0)
        seen: dict[str, list[int]] = {name: [] for name in self.counts}
        size = plan.block_of(level)
        sizes = [plan.warm_up, *(min(size, plan.requests - start) for start in range(0, plan.requests, size))]
        for number, block in enumerate(sizes):
            new: dict[str, list[int]] = {name: [] for name in self.counts}
            asked: list[Asked] = []
            for _ in range(block):
                media: list[tuple[str, int]] = []
                repeated = 0
                for name, count in self.counts.items():
                    for _ in range(count):
                        counted[name] += number > 0
                        # The k-th medium is a repeated one where the share's sum passes a whole number.
                        due = int(counted[name] * plan.repeat_share) > int((counted[name] - 1) * plan.repeat_share)
                        if number > 0 and due and seen[name]:
                            media.append((name, seen[name][int(rng.integers(len(seen[name])))]))
                            repeated += 1
                        else:
                            media.append((name, following[name]))
                            new[name].append(following[name])
                            following[name] += 1
                words = " ".join(rng.choice(WORDS, plan.text_words))
                asked.append(Asked(text=f"{words}. {QUESTION}", media=tuple(media), repeated=repeated))
            yield asked
            for name, numbers in new.items():
                seen[name] += numbers

    def body(self, asked: Asked, target: Target, model: str, ids: Mapping[tuple[str, int], str]) -> bytes:
        """The body of a streamed chat completion.

        Args:
            asked: what to ask.
            target: whom.
            model: by which id.
            ids: ids of the media that were uploaded.
        """
        parts = [
            {"type": "file", "file": {"file_id": ids[medium]}} if target.send == "file" else _part(self.medium(*medium))
            for medium in asked.media
        ]
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": "user", "content": [*parts, {"type": "text", "text": asked.text}]}],
            "max_tokens": self.plan.output_tokens,
            "temperature": 0,
            # Every answer has the same length, whatever the model would say.
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        return json.dumps(body).encode()


def _part(medium: Medium) -> dict[str, Any]:
    data = base64.b64encode(medium.data).decode()
    if medium.modality == "audio":
        return {"type": "input_audio", "input_audio": {"data": data, "format": medium.format}}
    return {"type": "image_url", "image_url": {"url": f"data:{medium.mime};base64,{data}"}}
