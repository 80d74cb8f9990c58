"""Feature cache: each medium passes through each frozen encoder once.

    <cache>/<encoder fingerprint>/shard-00000.safetensors   features float16 [rows, length, dim], memory-mapped on read
    <cache>/<encoder fingerprint>/shard-00000.json          sha256 of each row's medium

The key is the content of the medium and the fingerprint of the encoder (configuration and weights), so a renamed file
is found again and another encoder never is. A shard appears by an atomic rename once it is whole: an interrupted run
continues after its last shard, and two runs at once at worst do some work twice.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from model.encoders import encode
from model.encoders.base import EncoderConfig
from model.errors import DataError, QuartetError
from model.media import decode_audio, decode_image
from training.data import MediaRef

SHARD_ROWS = 1024
DECODERS = {"image": decode_image, "audio": decode_audio}


class FeatureCache:
    """Features of one modality under one encoder."""

    def __init__(self, folder: Path, config: EncoderConfig, weights_sha256: str) -> None:
        self.config = config
        self.folder = folder / fingerprint(config, weights_sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, Any] = {}
        self._digests: dict[Path, str] = {}
        for index in sorted(self.folder.glob("shard-*.json")):
            self._read_index(index)

    def ensure(self, references: Iterable[MediaRef], encoder: torch.nn.Module | None, workers: int = 2) -> int:
        """Encode the media that are not cached yet and return how many those were.

        Args:
            references: media of this modality; rows of feature files need no work.
            encoder: the built encoder with its weights, in evaluation mode; None promises that nothing is missing.
            workers: threads that decode and preprocess.

        Raises:
            DataError: a medium cannot be decoded, by path.
        """
        paths = sorted({ref.path for ref in references if ref.row is None})
        missing = {self.digest(path): path for path in tqdm(paths, desc="hash", leave=False, disable=len(paths) < 1000)}
        missing = {digest: path for digest, path in missing.items() if digest not in self._rows}
        if missing and encoder is None:
            raise DataError(f"{len(missing)} media are not in the feature cache {self.folder}")
        todo = list(missing.items())
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(total=len(todo), desc="encode", unit="media", disable=not todo) as bar,
        ):
            for chunk in _chunks(todo, SHARD_ROWS):
                features: list[Tensor] = []
                for part in _chunks(chunk, 64):
                    inputs = list(pool.map(self._prepare, [path for _, path in part]))
                    with torch.inference_mode():
                        features += encode(encoder, inputs)  # type: ignore[arg-type]
                    bar.update(len(part))
                self._write([digest for digest, _ in chunk], torch.stack(features))
        return len(todo)

    def get(self, reference: MediaRef) -> Tensor:
        """Features `[length, dim]`, float32, of one medium.

        Raises:
            DataError: not cached, or a row the feature file does not have.
        """
        if reference.row is not None:
            return self._slice(reference.path, reference.row)
        digest = self.digest(reference.path)
        if digest not in self._rows:
            raise DataError(f"{reference.path} is not in the feature cache; run `ensure` first")
        return self._slice(*self._rows[digest])

    def stack(self, references: Sequence[MediaRef]) -> Tensor:
        """Features `[n, length, dim]` of several media."""
        return torch.stack([self.get(reference) for reference in references])

    def digest(self, path: Path) -> str:
        """Content hash of a file, remembered for this run."""
        if path not in self._digests:
            self._digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._digests[path]

    def _prepare(self, path: Path) -> Tensor:
        try:
            return self.config.preprocess(DECODERS[self.config.modality](path.read_bytes()))
        except QuartetError as error:
            raise DataError(f"{path}: {error}") from None

    def _slice(self, path: Path, row: int) -> Tensor:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = safe_open(path, framework="pt")
        try:
            features: Tensor = file.get_slice("features")[row]
        except Exception as error:
            raise DataError(f"{path}#{row}: no such row of features ({error})") from None
        return features.float()

    def _write(self, digests: list[str], features: Tensor) -> None:
        # The name is the content's, so two runs that encode the same media write the same file.
        name = "shard-" + hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        shard, index = self.folder / f"{name}.safetensors", self.folder / f"{name}.json"
        temporary = self.folder / f".{name}.{os.getpid()}"
        save_file({"features": features.half().contiguous()}, temporary)
        temporary.rename(shard)
        # The index comes last: what it names is whole.
        temporary.write_text(json.dumps(digests))
        temporary.rename(index)
        self._read_index(index)

    def _read_index(self, index: Path) -> None:
        shard = index.with_suffix(".safetensors")
        try:
            digests = json.loads(index.read_text())
            with safe_open(shard, framework="pt") as file:
                rows = file.get_slice("features").get_shape()[0]
        except Exception as error:
            raise DataError(f"{shard} is damaged ({error}); delete it and its .json, it will be made again") from None
        if rows != len(digests):
            raise DataError(f"{shard} holds {rows} rows, its index names {len(digests)}; delete both")
        self._rows.update({digest: (shard, row) for row, digest in enumerate(digests)})


def fingerprint(config: EncoderConfig, weights_sha256: str) -> str:
    """Name of the folder for one encoder: family, configuration and weights."""
    text = f"{config!r} {weights_sha256}"
    return f"{config.family}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
