"""One file of cached features: written row by row, appears whole, read through a memory map, every row checked.

    shard-<hash>.safetensors
      features   float16 [positions, dim]   the features of all media, one after the other
      offsets    int64 [media + 1]          medium i has the positions offsets[i] .. offsets[i + 1]
      digests    uint8 [media, 32]          sha256 of each medium's file
      checksums  int64 [media]              CRC-32 of each medium's features
      metadata   format, fingerprint of the encoder, CRC-32 of the three index tensors

Media may differ in length. Writing holds one row in memory, reading none: the system maps what is looked at.
The name is the hash of the content, so the same media in the same order give the same file whoever writes it.
"""

import json
import os
import zlib
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from model.errors import DataError

# Raise this when the layout above changes; what is cached in another one is made again.
FORMAT = "quartet-features-2"
PREFIX, SUFFIX = "shard-", ".safetensors"
# Bytes kept free at the start of a file for its header, which is only known at the end.
HEADER = 1024
# A multiple of this many bytes of features keeps the 64-bit tensors behind them aligned.
ALIGNMENT = 8
DIGEST = 32


class ShardWriter:
    """Streams features of media into a partial file, which `publish` turns into a shard.

    Args:
        path: the partial file.
        encoder: fingerprint of the encoder.
        dim: width of the features.

    Raises:
        OSError: from any method, when the disk is full or refuses.
    """

    def __init__(self, path: Path, encoder: str, dim: int) -> None:
        self.path, self.encoder, self.dim = path, encoder, dim
        self.digests: list[str] = []
        self._offsets, self._checksums = [0], list[int]()
        # Without a buffer of its own: a row that does not fit on the disk fails when it is written, not later.
        self._file = path.open("wb", buffering=0)

    @property
    def size(self) -> int:
        """Bytes of features so far."""
        return self._offsets[-1] * self.dim * 2

    def add(self, digest: str, features: Tensor) -> None:
        """Append the features `[length, dim]`, float16, of the medium with this sha256."""
        data = features.contiguous().numpy().tobytes()
        # At its place, whatever a row that failed has left there.
        self._write(data, HEADER + self.size)
        self.digests.append(digest)
        self._offsets.append(self._offsets[-1] + len(features))
        self._checksums.append(zlib.crc32(data))

    def publish(self) -> Path:
        """Write the index and the header and let the shard appear under its name."""
        positions = self._offsets[-1]
        while positions * self.dim * 2 % ALIGNMENT:
            self._write(bytes(2 * self.dim), HEADER + positions * self.dim * 2)
            positions += 1
        index = {
            "offsets": np.array(self._offsets, dtype="<i8"),
            "checksums": np.array(self._checksums, dtype="<i8"),
            "digests": np.frombuffer(bytes.fromhex("".join(self.digests)), dtype=np.uint8).reshape(-1, DIGEST),
        }
        start = positions * self.dim * 2
        header: dict[str, object] = {
            "__metadata__": {"format": FORMAT, "encoder": self.encoder, "index": index_checksum(**index)},
            "features": {"dtype": "F16", "shape": [positions, self.dim], "data_offsets": [0, start]},
        }
        for name, array in index.items():
            self._write(array.tobytes(), HEADER + start)
            dtype = "U8" if array.dtype == np.uint8 else "I64"
            header[name] = {"dtype": dtype, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
            start += array.nbytes
        # The format allows a header to end in spaces.
        text = json.dumps(header, separators=(",", ":")).encode().ljust(HEADER - 8)
        self._write(len(text).to_bytes(8, "little") + text, 0)
        self._file.truncate(HEADER + start)
        # Or else a power cut could leave a shard of the right name whose content never reached the disk.
        os.fsync(self._file.fileno())
        self._file.close()
        name = sha256(index["digests"].tobytes() + index["checksums"].tobytes()).hexdigest()[:16]
        path = self.path.with_name(f"{PREFIX}{name}{SUFFIX}")
        self.path.replace(path)
        return path

    def discard(self) -> None:
        """Remove the partial file."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, data: bytes, position: int) -> None:
        self._file.seek(position)
        view = memoryview(data)
        while view:
            # The system may take less than it is given, and on a disk that fills up it does so before it refuses.
            view = view[self._file.write(view) :]


class Shard:
    """A shard open for reading.

    Args:
        path: the file.
        encoder: fingerprint of the encoder it must be of.
        dim: width of that encoder's features.

    Raises:
        DataError: damaged, by path and with what to do.
        FileNotFoundError: another process has removed it.
    """

    def __init__(self, path: Path, encoder: str, dim: int) -> None:
        self.path, self.encoder, self.dim = path, encoder, dim
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
        except FileNotFoundError:
            raise
        except (SafetensorError, OSError) as error:
            raise damaged(path, str(error)) from None
        if metadata.get("format") != FORMAT or metadata.get("encoder") != encoder:
            raise damaged(path, f"not features of {encoder} in the format {FORMAT}")
        try:
            # Copies: these are small, and looked at all the time.
            offsets, checksums, digests = (tensors[name].numpy().copy() for name in ("offsets", "checksums", "digests"))
            self._features = tensors["features"]
        except KeyError as error:
            raise damaged(path, f"it lacks {error}") from None
        if index_checksum(offsets=offsets, checksums=checksums, digests=digests) != metadata.get("index"):
            raise damaged(path, "its index is not what was written")
        if self._features.shape[1:] != (dim,) or self._features.dtype != torch.float16:
            raise damaged(path, f"features {list(self._features.shape)}, expected float16 [positions, {dim}]")
        self.digests: list[str] = [bytes(row).hex() for row in digests]
        self._offsets: list[int] = offsets.tolist()
        self._checksums: list[int] = checksums.tolist()
        self._checked = bytearray(len(self.digests))

    def __len__(self) -> int:
        return len(self.digests)

    def __reduce__(self) -> tuple[object, ...]:
        # A data worker opens the file itself instead of being sent its content.
        return Shard, (self.path, self.encoder, self.dim)

    def row(self, row: int) -> Tensor:
        """Features `[length, dim]`, float16, of a medium: a view of the file, compared with its checksum at first.

        Raises:
            DataError: the features are not those that were written.
        """
        features = self._features[self._offsets[row] : self._offsets[row + 1]]
        if not self._checked[row]:
            if zlib.crc32(features.numpy()) != self._checksums[row]:
                raise damaged(self.path, f"row {row} is not what was written")
            self._checked[row] = 1
        return features

    def verify(self) -> Iterator[int]:
        """Compare every row that was not read yet with its checksum; yields as it goes.

        Raises:
            DataError: the features are not those that were written.
        """
        for row in range(len(self)):
            self.row(row)
            yield row


def index_checksum(*, offsets: np.ndarray, checksums: np.ndarray, digests: np.ndarray) -> str:
    """CRC-32 of the index tensors, 8 hex digits."""
    return f"{zlib.crc32(digests.tobytes(), zlib.crc32(checksums.tobytes(), zlib.crc32(offsets.tobytes()))):08x}"


def damaged(path: Path, why: str) -> DataError:
    """The error for a shard that cannot be trusted: which one, why, and what to do."""
    return DataError(
        f"{path}: this file of cached features is damaged ({why}); delete it or run `quartet data cache --repair`, "
        "and only its own media are encoded again"
    )
