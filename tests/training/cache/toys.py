"""Encoders that need no weights, and media for them: pictures of a few pixels."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from model.encoders.base import EncoderConfig
from training.data import MediaRef


@dataclass(frozen=True, kw_only=True)
class ToyConfig(EncoderConfig):
    """Features `[vectors, width]`, each the mean of the pixels; without `vectors`, one per column of the picture."""

    family = "toy"
    modality = "image"
    licence = "none"

    width: int = 32
    vectors: int | None = 1

    @property
    def dim(self) -> int:
        return self.width

    @property
    def length(self) -> int | None:
        return self.vectors

    def preprocess(self, medium: Image.Image) -> Tensor:
        return torch.from_numpy(np.asarray(medium, dtype=np.float32)).permute(2, 0, 1) / 255

    def example(self) -> Image.Image:
        return Image.new("RGB", (8, 8))

    def build(self) -> nn.Module:
        return Toy(self)

    def convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        return state

    def features(self, path: Path) -> Tensor:
        """What a cache must give for a file."""
        with torch.no_grad():
            return self.build()(self.preprocess(Image.open(path).convert("RGB"))[None])[0].half().float()


class Toy(nn.Module):
    """`[batch, 3, height, width] -> [batch, length, dim]`."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config, self.weight = config, nn.Parameter(torch.ones(1))

    def forward(self, pixels: Tensor) -> Tensor:
        columns = pixels.mean(dim=(1, 2)) * self.weight
        if self.config.vectors is not None:
            columns = columns.mean(dim=1, keepdim=True).expand(-1, self.config.vectors)
        return columns[:, :, None].repeat(1, 1, self.config.width)


class Counter:
    """Builds an encoder that counts what it encodes, and may be slow, break off or overflow."""

    def __init__(
        self,
        config: ToyConfig | None = None,
        *,
        limit: int = 10**9,
        scale: float = 1.0,
        seconds: float = 0.0,
        seen: Callable[[], None] = lambda: None,
    ) -> None:
        self.config = config or ToyConfig()
        self.media, self.built = 0, 0
        self.limit, self.scale, self.seconds, self.seen = limit, scale, seconds, seen

    def __call__(self) -> nn.Module:
        self.built += 1
        return _Counted(self)


class _Counted(Toy):
    def __init__(self, counter: Counter) -> None:
        super().__init__(counter.config)
        self.counter = counter

    def forward(self, pixels: Tensor) -> Tensor:
        self.counter.media += len(pixels)
        self.counter.seen()
        time.sleep(self.counter.seconds * len(pixels))
        if self.counter.media > self.counter.limit:
            raise KeyboardInterrupt
        return super().forward(pixels) * self.counter.scale


def draw_many(folder: Path, count: int, *, width: Callable[[int], int] = lambda index: 4) -> list[MediaRef]:
    """Pictures that all differ, some more often than others in size."""
    folder.mkdir(parents=True, exist_ok=True)
    references = []
    for index in range(count):
        pixels = np.full((2, width(index), 3), index % 251, dtype=np.uint8)
        pixels[0, 0] = (index // 251 % 256, 7, 11)
        path = folder / f"{index:05d}.png"
        Image.fromarray(pixels).save(path)
        references.append(MediaRef("image", path))
    return references


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process and return its id; it exits with 0, or with 1 if `work` raises."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        print(f"child: {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(code)


def exit_code(process: int) -> int:
    """Wait for a child; negative is the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def anonymous_bytes() -> int:
    """Memory of this process that no file backs, which the system cannot simply drop."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("no RssAnon in /proc/self/status")


def leftovers(folder: Path) -> Iterator[Path]:
    """What a finished run must not leave in an encoder's folder."""
    yield from folder.glob(".partial-*")
    yield from (path for path in folder.glob("runs/*") if path.name != "lock")
