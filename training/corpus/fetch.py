"""Fetches Debian and npm packages as an ordinary user would, and unpacks them into the cache. Nothing is installed.

    package = fetch.npm("emoji-datasource-google", "16.0.0", cache, sha256="fb5f...")
    package.tree / "package/emoji.json"

A package is unpacked once: the folder appears under its name only when it is complete, and is then reused.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Package:
    """An unpacked package: where it lies and what a provenance record has to say about it."""

    name: str
    version: str
    origin: str
    sha256: str
    licence: str
    tree: Path

    def record(self) -> dict[str, Any]:
        """The fields for ``source.json``, without the local path."""
        return {key: value for key, value in asdict(self).items() if key != "tree"}


def debian(name: str, cache: Path, *, licence: str) -> Package:
    """The newest version of a Debian package the machine's package lists offer; apt itself verifies it.

    Raises RuntimeError if apt-get or dpkg-deb is missing or fails; the message says what to do.
    """

    def download(folder: Path) -> tuple[Path, str]:
        _run(
            ["apt-get", "download", name],
            folder,
            hint="This needs Debian or Ubuntu; run 'apt-get update' (as root) once, or download the .deb by hand and "
            f"unpack it with 'dpkg-deb -x' into {cache / 'debian' / name}/tree",
        )
        archive = next(folder.glob("*.deb"))
        return archive, _run(["dpkg-deb", "-f", str(archive), "Version"], folder).strip()

    def unpack(archive: Path, tree: Path) -> None:
        _run(["dpkg-deb", "-x", str(archive), str(tree)], archive.parent, hint="apt-get install dpkg")

    return _fetch(cache / "debian" / name, name, "debian", licence, download, unpack)


def npm(name: str, version: str, cache: Path, *, licence: str, sha256: str) -> Package:
    """One version of an npm package, checked against the sha256 of its tarball; no script of it is run.

    Raises RuntimeError if npm is missing or fails, or if the tarball is another one.
    """

    def download(folder: Path) -> tuple[Path, str]:
        command = [
            "npm",
            "pack",
            f"{name}@{version}",
            "--ignore-scripts",
            "--silent",
            "--pack-destination",
            str(folder),
        ]
        _run(command, folder, hint="Install npm (apt-get install npm) and check that it reaches a registry")
        archive = next(folder.glob("*.tgz"))
        found = _sha256(archive)
        if found != sha256:
            raise RuntimeError(f"{name}@{version}: the tarball has sha256 {found}, expected {sha256}; not used")
        return archive, version

    def unpack(archive: Path, tree: Path) -> None:
        with tarfile.open(archive) as tar:
            tar.extractall(tree, filter="data")

    return _fetch(cache / "npm" / f"{name}@{version}".replace("/", "+"), name, "npm", licence, download, unpack)


def _fetch(
    final: Path,
    name: str,
    origin: str,
    licence: str,
    download: Callable[[Path], tuple[Path, str]],
    unpack: Callable[[Path, Path], None],
) -> Package:
    tree, record = final / "tree", final / "package.json"
    if tree.is_dir():
        known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
        version, digest = known.get("version", "unpacked by hand"), known.get("sha256", "unknown")
        return Package(name=name, version=version, origin=origin, sha256=digest, licence=licence, tree=tree)
    partial = final.with_name(f".{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    from tqdm import tqdm

    with tqdm(total=2, desc=f"{origin}: {name}", unit="step", disable=None) as bar:
        archive, version = download(partial)
        digest = _sha256(archive)
        bar.update()
        unpack(archive, partial / "tree")
        archive.unlink()
        bar.update()
    (partial / "package.json").write_text(json.dumps({"version": version, "sha256": digest}), encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return Package(name=name, version=version, origin=origin, sha256=digest, licence=licence, tree=tree)


def _run(command: list[str], folder: Path, *, hint: str = "") -> str:
    if shutil.which(command[0]) is None:
        raise RuntimeError(f"the program {command[0]} is missing, needed for: {' '.join(command)}. {hint}".strip())
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        fault = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeError(f"{' '.join(command)} failed: {' | '.join(fault)}. {hint}".strip())
    return done.stdout


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
