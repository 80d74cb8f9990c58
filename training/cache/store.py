"""The feature cache: each medium passes through each frozen encoder once, and any number of runs read the result.

    <folder>/files.sqlite                      sha256 of files that have not changed since
    <folder>/<family>-<fingerprint>/
      encoder.json                             what the fingerprint is of
      shard-*.safetensors                      features (see `shards`)
      runs/                                    who is filling it now (see `claims`)

A medium is known by the hash of its content and an encoder by that of its configuration, its weights and the version of
its preprocessing, so a renamed file is found again and another encoder's features never are.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from torch import Tensor, nn
from tqdm import tqdm

from model.encoders.base import MAX_BATCH, EncoderConfig
from model.errors import DataError
from training.cache.claims import PARTIAL, clean
from training.cache.facts import FileFacts, State, state
from training.cache.features import Features
from training.cache.fill import WORKERS, Fill
from training.cache.shards import FORMAT, PREFIX, SUFFIX, Shard
from training.data import MediaRef
from training.problems import OnProblem

log = logging.getLogger(__name__)

DESCRIPTION = "encoder.json"
# The fact that is remembered about a shard whose every row was compared with its checksum.
INTACT = "intact"
# Below this many files a progress bar would only flicker.
WORTH_A_BAR = 1000
# Unusable media named in an error; all of them are in `FeatureCache.unusable`.
NAMED = 10


class FeatureCache(Features):
    """Features of one modality under one encoder.

    Args:
        folder: holds one folder per encoder; made if missing.
        config: the encoder.
        weights_sha256: hash of its weights.
        repair: remove damaged shards, so that `ensure` makes them again, instead of refusing them.

    Raises:
        DataError: a damaged shard, by path.
    """

    def __init__(self, folder: Path, config: EncoderConfig, weights_sha256: str, *, repair: bool = False) -> None:
        super().__init__(config)
        self.name = fingerprint(config, weights_sha256)
        self.folder = folder / self.name
        self.repair = repair
        self.unusable: dict[Path, str] = {}
        """Media that `ensure` could not encode, and why."""
        self._facts = FileFacts(folder)
        self._shards: dict[Path, Shard] = {}
        self._rows: dict[str, tuple[Shard, int]] = {}
        self._digests: dict[Path, str] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _describe(self.folder / DESCRIPTION, config, weights_sha256)
        except OSError as error:
            raise DataError(f"{self.folder}: cannot be written ({error.strerror}); set QUARTET_CACHE") from None
        self.refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def missing(self, references: Iterable[MediaRef]) -> dict[str, Path]:
        """Media that are not cached yet, by content hash; rows of feature files never are missing.

        Raises:
            DataError: files that cannot be read.
        """
        paths = sorted({reference.path for reference in references if reference.row is None})
        unreadable = self._hash(paths)
        if unreadable:
            raise unusable(self.config.modality, unreadable)
        by_digest = {self._digests[path]: path for path in paths}
        return {digest: path for digest, path in by_digest.items() if digest not in self._rows}

    def ensure(
        self,
        references: Iterable[MediaRef],
        encoder: Callable[[], nn.Module],
        workers: int = WORKERS,
        *,
        on_problem: OnProblem = "error",
        batch: int = MAX_BATCH,
    ) -> int:
        """Encode the media that are not cached yet and compare those that are with their checksums.

        Another run that does the same at the same time takes part of the work. Whatever ends the call, what was encoded
        stays.

        Args:
            references: media of this modality.
            encoder: builds the encoder with its weights, in evaluation mode; called only if something is missing.
            workers: threads that read, decode and preprocess.
            on_problem: unusable media are all listed in `unusable`; `error` raises after the others are encoded.
            batch: most media in one forward pass.

        Returns:
            How many media this call has encoded.

        Raises:
            DataError: media that cannot be decoded, or whose features are not finite, by path; a damaged shard; no
                space.
        """
        paths = sorted({reference.path for reference in references if reference.row is None})
        self.unusable = self._hash(paths, workers)
        usable = [path for path in paths if path not in self.unusable]
        self._verify({self._rows[d][0] for path in usable if (d := self._digests[path]) in self._rows})
        todo: dict[str, list[Path]] = {}
        for path in usable:
            if self._digests[path] not in self._rows:
                todo.setdefault(self._digests[path], []).append(path)
        encoded = 0
        # A folder that is only read needs nothing of this.
        with suppress(OSError):
            clean(self.folder)
        if todo:
            fill = Fill(self, {digest: same[0] for digest, same in todo.items()}, encoder, workers, batch)
            encoded = fill.run()
            for digest, reason in fill.unusable.items():
                self.unusable |= dict.fromkeys(todo[digest], reason)
        if self.unusable and on_problem == "error":
            raise unusable(self.config.modality, self.unusable)
        return encoded

    def find(self, reference: MediaRef) -> Tensor:
        """See `Features.find`; float16, a view of the file.

        Raises:
            DataError: not cached, damaged, a row that a feature file lacks, or features of another encoder's shape.
        """
        if reference.row is not None:
            return self._row(reference)
        found = self._rows.get(self._digests.get(reference.path) or self.digest(reference.path))
        if found is None:
            raise DataError(f"{reference.path} is not in the feature cache {self.folder}; run `ensure` first")
        shard, row = found
        return shard.row(row)

    def digest(self, path: Path) -> str:
        """Content hash of a file, remembered until the file changes.

        Raises:
            DataError: it cannot be read.
        """
        if path not in self._digests and (unreadable := self._hash([path])):
            raise DataError(f"{path}: {unreadable[path]}")
        return self._digests[path]

    def refresh(self) -> list[str]:
        """Open the shards that have appeared since; returns the sha256 of their media.

        Raises:
            DataError: one is damaged.
        """
        added: list[str] = []
        for path in sorted(self.folder.glob(f"{PREFIX}*{SUFFIX}")):
            if path in self._shards:
                continue
            try:
                shard = Shard(path, self.name, self.config.dim)
            except FileNotFoundError:
                continue
            except DataError as error:
                if not self.repair:
                    raise
                log.warning("%s is removed: %s", path, error)
                path.unlink(missing_ok=True)
                continue
            self._shards[path] = shard
            self._rows.update({digest: (shard, row) for row, digest in enumerate(shard.digests)})
            added += shard.digests
        return added

    def verify(self) -> list[Path]:
        """Compare every row with its checksum; returns the shards that were damaged and, with `repair`, removed.

        Raises:
            DataError: one is damaged, without `repair`.
        """
        return self._verify(set(self._shards.values()), again=True)

    def _verify(self, shards: set[Shard], *, again: bool = False) -> list[Path]:
        known = {} if again else self._facts.known(shard.path for shard in shards)
        todo = sorted((shard for shard in shards if shard.path not in known), key=lambda shard: shard.path)
        rows = sum(len(shard) for shard in todo)
        intact: dict[Path, tuple[State, str]] = {}
        removed: list[Path] = []
        with tqdm(total=rows, desc="check features", unit="media", leave=False, disable=rows < WORTH_A_BAR) as bar:
            for shard in todo:
                try:
                    before = state(shard.path)
                    for _ in shard.verify():
                        bar.update()
                    intact[shard.path] = before, INTACT
                except FileNotFoundError:
                    # Another process has removed it; what is mapped stays readable.
                    continue
                except DataError as error:
                    if not self.repair:
                        raise
                    log.warning("%s is removed: %s", shard.path, error)
                    shard.path.unlink(missing_ok=True)
                    del self._shards[shard.path]
                    self._rows = {digest: place for digest, place in self._rows.items() if place[0] is not shard}
                    removed.append(shard.path)
        self._facts.remember(intact)
        return removed

    def _hash(self, paths: Sequence[Path], workers: int = WORKERS) -> dict[Path, str]:
        """Learn the content hashes of files; returns those that cannot be read, and why."""
        todo = [path for path in paths if path not in self._digests]
        known = self._facts.known(todo)
        self._digests.update(known)
        todo = [path for path in todo if path not in known]
        unreadable: dict[Path, str] = {}
        found: dict[Path, tuple[State, str]] = {}
        with (
            ThreadPoolExecutor(workers) as pool,
            tqdm(
                total=len(todo),
                desc=f"hash {self.config.modality}",
                unit="media",
                leave=False,
                disable=len(todo) < WORTH_A_BAR,
            ) as bar,
        ):
            for path, result in zip(todo, pool.map(_hash_file, todo), strict=True):
                bar.update()
                if isinstance(result, str):
                    unreadable[path] = result
                else:
                    found[path] = result
        self._digests.update({path: digest for path, (_, digest) in found.items()})
        self._facts.remember(found)
        return unreadable


def fingerprint(config: EncoderConfig, weights_sha256: str) -> str:
    """Name of the folder for one encoder: family, and the hash of all that its features depend on."""
    text = json.dumps(_identity(config, weights_sha256), sort_keys=True)
    return f"{config.family}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def unusable(modality: str, problems: dict[Path, str]) -> DataError:
    """The error that names media that cannot be encoded."""
    named = "; ".join(f"{path}: {reason}" for path, reason in list(problems.items())[:NAMED])
    rest = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
    return DataError(f"{len(problems)} {modality} media cannot be used: {named}{rest}; replace them or leave them out")


def _identity(config: EncoderConfig, weights_sha256: str) -> dict[str, object]:
    return {
        "format": FORMAT,
        "family": config.family,
        "version": config.version,
        "config": dataclasses.asdict(config),
        "weights_sha256": weights_sha256,
    }


def _describe(path: Path, config: EncoderConfig, weights_sha256: str) -> None:
    """Say in a file beside the features what they are of."""
    if path.is_file():
        return
    text = json.dumps({**_identity(config, weights_sha256), "modality": config.modality}, indent=1) + "\n"
    partial = path.with_name(f"{PARTIAL}{token_hex(8)}")
    partial.write_text(text)
    partial.replace(path)


def _hash_file(path: Path) -> tuple[State, str] | str:
    """State and sha256 of a file, or why it cannot be read."""
    try:
        before = state(path)
        with path.open("rb") as file:
            return before, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
