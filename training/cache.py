"""Feature cache: each medium passes through each frozen encoder once.

    <cache>/<encoder fingerprint>/shard-<hash>.safetensors   features float16 [rows, length, dim], memory-mapped on read
    <cache>/<encoder fingerprint>/shard-<hash>.json          sha256 of each row's medium; <hash> is that of this list

The key is the content of the medium and the fingerprint of the encoder (configuration and weights), so a renamed file
is found again and another encoder never is. A shard appears by an atomic rename once it is whole: an interrupted run
continues after its last shard, and two runs at once at worst do some work twice.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from model.encoders import encode
from model.encoders.base import EncoderConfig
from model.errors import DataError, QuartetError
from model.media import decode_audio, decode_image
from training.data import FEATURES, MediaRef

SHARD_ROWS = 1024
# Media decoded before they are encoded together: bounds memory, and is enough to find sounds of equal length.
DECODED = 64
DECODERS: dict[str, Callable[[bytes], Any]] = {"image": decode_image, "audio": decode_audio}


class FeatureCache:
    """Features of one modality under one encoder.

    Args:
        folder: holds one folder per encoder; made if missing.
        config: the encoder.
        weights_sha256: hash of its weights.

    Raises:
        DataError: a damaged shard, by path.
    """

    def __init__(self, folder: Path, config: EncoderConfig, weights_sha256: str) -> None:
        self.config = config
        self.folder = folder / fingerprint(config, weights_sha256)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, tuple[Path, int]] = {}
        self._open: dict[Path, Any] = {}
        self._digests: dict[Path, str] = {}
        for index in sorted(self.folder.glob("shard-*.json")):
            self._read_index(index)

    def missing(self, references: Iterable[MediaRef]) -> dict[str, Path]:
        """Media that are not cached yet, by content hash; rows of feature files never are missing."""
        paths = sorted({ref.path for ref in references if ref.row is None})
        bar = tqdm(paths, desc=f"hash {self.config.modality}", leave=False, disable=len(paths) < 1000)
        by_digest = {self.digest(path): path for path in bar}
        return {digest: path for digest, path in by_digest.items() if digest not in self._rows}

    def ensure(self, references: Iterable[MediaRef], encoder: Callable[[], nn.Module], workers: int = 2) -> int:
        """Encode the media that are not cached yet and return how many those were.

        Args:
            references: media of this modality.
            encoder: builds the encoder with its weights, in evaluation mode; called only if something is missing.
            workers: threads that decode and preprocess.

        Raises:
            DataError: a medium that cannot be decoded, or whose features are not finite, by path.
        """
        todo = list(self.missing(references).items())
        if not todo:
            return 0
        module = encoder()
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(total=len(todo), desc=f"encode {self.config.modality}", unit="media") as bar,
        ):
            for chunk in _chunks(todo, SHARD_ROWS):
                features: list[Tensor] = []
                for part in _chunks(chunk, DECODED):
                    inputs = list(pool.map(self._prepare, [path for _, path in part]))
                    with torch.inference_mode():
                        features += [tensor.half().cpu() for tensor in encode(module, inputs)]
                    bar.update(len(part))
                for (_, path), tensor in zip(chunk, features, strict=True):
                    if not tensor.isfinite().all():
                        raise DataError(f"{path}: the encoder gives features that are not finite in float16")
                self._write([digest for digest, _ in chunk], torch.stack(features))
        return len(todo)

    def get(self, reference: MediaRef) -> Tensor:
        """Features `[length, dim]`, float32, of one medium.

        Raises:
            DataError: not cached, a row that the feature file does not have, or features of another encoder's shape.
        """
        if reference.row is not None:
            return self._slice(reference.path, reference.row)
        digest = self.digest(reference.path)
        if digest not in self._rows:
            raise DataError(f"{reference.path} is not in the feature cache {self.folder}; run `ensure` first")
        return self._slice(*self._rows[digest])

    def stack(self, references: Sequence[MediaRef]) -> Tensor:
        """Features `[n, length, dim]` of at least one medium."""
        return torch.stack([self.get(reference) for reference in references])

    def digest(self, path: Path) -> str:
        """Content hash of a file, remembered for this run."""
        if path not in self._digests:
            try:
                self._digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error.strerror})") from None
        return self._digests[path]

    def _prepare(self, path: Path) -> Tensor:
        try:
            return self.config.preprocess(DECODERS[self.config.modality](path.read_bytes()))
        except QuartetError as error:
            raise DataError(f"{path}: {error}") from None

    def _slice(self, path: Path, row: int) -> Tensor:
        """One row of a file that stays open: a read costs microseconds."""
        try:
            if path not in self._open:
                file = safe_open(path, framework="pt")
                shape = file.get_slice(FEATURES).get_shape()
                length, dim = self.config.length, self.config.dim
                if len(shape) != 3 or shape[2] != dim or (length is not None and shape[1] != length):
                    raise DataError(
                        f"{path}: features have shape {shape}, the {self.config.family} encoder gives "
                        f"[rows, {length or 'length'}, {dim}]; they were computed with another encoder"
                    )
                self._open[path] = file
            features: Tensor = self._open[path].get_slice(FEATURES)[row]
        except (SafetensorError, OSError, IndexError) as error:
            raise DataError(f"{path}#{row}: no such row of features ({error})") from None
        return features.float()

    def _write(self, digests: list[str], features: Tensor) -> None:
        # The name is the content's, so two runs that encode the same media write the same file.
        name = "shard-" + hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
        index = self.folder / f"{name}.json"
        self._place(index.with_suffix(".safetensors"), save({FEATURES: features.contiguous()}))
        # The index comes last: what it names is whole.
        self._place(index, json.dumps(digests).encode())
        self._read_index(index)

    def _place(self, path: Path, data: bytes) -> None:
        """Let a file appear whole or not at all, whoever else writes it at the same time."""
        with tempfile.NamedTemporaryFile(dir=self.folder, prefix=".partial-", delete=False) as file:
            file.write(data)
        Path(file.name).rename(path)

    def _read_index(self, index: Path) -> None:
        shard = index.with_suffix(".safetensors")
        try:
            digests = json.loads(index.read_text())
            with safe_open(shard, framework="pt") as file:
                rows = file.get_slice(FEATURES).get_shape()[0]
        except (SafetensorError, OSError, ValueError) as error:
            raise DataError(f"{shard} is damaged ({error}); delete it and its .json, it will be made again") from None
        if rows != len(digests):
            raise DataError(f"{shard} is damaged: {rows} rows, its index names {len(digests)}; delete both files")
        self._rows.update({digest: (shard, row) for row, digest in enumerate(digests)})


def fingerprint(config: EncoderConfig, weights_sha256: str) -> str:
    """Name of the folder for one encoder: family, configuration and weights."""
    text = f"{config!r} {weights_sha256}"
    return f"{config.family}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _chunks(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
