"""The files of an adapter: PEFT's configuration and safetensors, checked before the engine sees them, then copied.

The engine reads an adapter again whenever it had to make room for another. So it is given a copy in the cache, under
the hash of its content: what an admin changes, moves or deletes afterwards can neither change answers in the middle of
a conversation nor end the engine, and the engine's own cache of prompts never mixes two versions.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.adapter import CONFIG, PREFIX, WEIGHTS
from model.errors import QuartetError
from model.sources import cache_directory

FOLDER = "adapters"
MAX_CONFIG_BYTES = 1 << 16
# Module of the language model -> (inputs, outputs).
Layers = Mapping[str, tuple[int, int]]
_TENSOR = re.compile(re.escape(PREFIX) + r"(.+)\.lora_([AB])(?:\.default)?\.weight")
_CHUNK = 1 << 20


class AdapterError(QuartetError):
    """Files that are no adapter of the served language model, or beyond a limit."""

    status = 400
    code = "invalid_adapter"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A checked adapter, ready for the engine."""

    directory: Path
    """Our copy."""
    rank: int
    """Largest rank of its layers."""
    sha256: str
    """Of its weights' file."""


def inside(base: Path, path: str) -> Path:
    """The directory that `path` names in `base`, wherever links lead.

    Raises:
        AdapterError: it is not there, or outside of `base`; which of them is not said.
    """
    try:
        real = base.resolve(strict=True)
        found = (real / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        found = None
    if found is None or not found.is_relative_to(real) or not found.is_dir():
        raise AdapterError(f"{path[:200]}: no such directory where adapters may be loaded from")
    return found


def take(source: Path, layers: Layers, *, max_rank: int, max_bytes: int, base: Path | None = None) -> Adapter:
    """Check the adapter in `source` and copy it.

    Args:
        source: a directory that PEFT wrote.
        layers: what an adapter may change.
        max_rank: largest rank.
        max_bytes: largest file of weights.
        base: a directory that none of the files may lead out of.

    Raises:
        AdapterError: what is wrong with it; names files by their own names only.
    """
    config = _config(_open(source, CONFIG, MAX_CONFIG_BYTES, base))
    folder = cache_directory() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(dir=folder))
    try:
        sha256 = _copy(_open(source, WEIGHTS, max_bytes, base), working / WEIGHTS)
        rank = _check(working / WEIGHTS, layers)
        if max(rank, int(config["r"])) > max_rank:
            raise AdapterError(f"its rank is {max(rank, int(config['r']))}, at most {max_rank} is served")
        text = json.dumps(config, sort_keys=True)
        (working / CONFIG).write_text(text, encoding="utf-8")
        target = folder / hashlib.sha256((sha256 + text).encode()).hexdigest()[:32]
        if not target.exists():
            os.replace(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return Adapter(directory=target, rank=rank, sha256=sha256)


def _open(source: Path, name: str, max_bytes: int, base: Path | None) -> int:
    """A descriptor of a regular file of bounded size."""
    try:
        path = (source / name).resolve(strict=True)
        if base is not None and not path.is_relative_to(base.resolve(strict=True)):
            raise AdapterError(f"{name}: leads out of the directory that adapters are loaded from")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, RuntimeError):
        raise AdapterError(f"{name}: not there or not readable; give a directory that PEFT wrote") from None
    found = os.fstat(descriptor)
    problem = None
    if not stat.S_ISREG(found.st_mode):
        problem = "no regular file"
    elif found.st_size > max_bytes:
        problem = f"{found.st_size} bytes, at most {max_bytes} are accepted"
    if problem is not None:
        os.close(descriptor)
        raise AdapterError(f"{name}: {problem}")
    return descriptor


def _copy(descriptor: int, target: Path) -> str:
    digest = hashlib.sha256()
    with os.fdopen(descriptor, "rb") as source, target.open("xb") as copy:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            copy.write(chunk)
    return digest.hexdigest()


def _config(descriptor: int) -> dict[str, Any]:
    with os.fdopen(descriptor, "rb") as file:
        text = file.read(MAX_CONFIG_BYTES + 1)
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise AdapterError(f"{CONFIG}: not JSON") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{CONFIG}: not the configuration of a LoRA adapter")
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterError(f"{CONFIG}: r must be a whole number above 0")
    if config.get("modules_to_save"):
        raise AdapterError(f"{CONFIG}: modules_to_save replaces whole layers, which is not served")
    return config


def _check(path: Path, layers: Layers) -> int:
    """Compare the tensors of a file with the language model's layers; the largest rank."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, dict[str, tuple[int, ...]]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                match = _TENSOR.fullmatch(key)
                if match is None:
                    raise AdapterError(f"{WEIGHTS}: {key[:200]} is no part of a LoRA adapter of a language model")
                tensor = file.get_tensor(key)
                if not tensor.is_floating_point() or not tensor.isfinite().all():
                    raise AdapterError(f"{WEIGHTS}: {key[:200]} holds what is no finite number")
                found.setdefault(match[1], {})[match[2]] = tuple(tensor.shape)
    except SafetensorError:
        raise AdapterError(f"{WEIGHTS}: not a safetensors file") from None
    if not found:
        raise AdapterError(f"{WEIGHTS}: is empty")
    return max(_rank(module, shapes, layers) for module, shapes in found.items())


def _rank(module: str, shapes: Mapping[str, tuple[int, ...]], layers: Layers) -> int:
    if module not in layers:
        raise AdapterError(f"{WEIGHTS}: the language model has no linear layer {module[:200]}")
    inputs, outputs = layers[module]
    rank = next(iter(shapes.get("A", ())), 0)
    expected = {"A": (rank, inputs), "B": (outputs, rank)}
    if rank < 1 or shapes != expected:
        given = " and ".join(f"{name} {list(shape)}" for name, shape in sorted(shapes.items()))
        wanted = f"A [r, {inputs}] and B [{outputs}, r]"
        raise AdapterError(f"{WEIGHTS}: {module[:200]} has {given}, expected {wanted}")
    return rank
