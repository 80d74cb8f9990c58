"""Where the keys come from: a file, looked at again when it changes, and one secret in the environment.

A file that cannot be read after a change leaves the keys as they were, with an error in the log: a slip of the editor
must neither lock everybody out nor let anybody in.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from model.errors import ConfigurationError
from server.keys import file
from server.keys.key import ADMIN, MIN_SECRET, Key, hashed
from server.keys.ring import KeyRing
from server.metrics import definitions as metrics

logger = logging.getLogger("server.keys")

# The name of the key in QUARTET_API_KEY.
ENVIRONMENT = "environment"
# How often the file's date is looked at, seconds: after this long at most, a revoked key is refused.
INTERVAL = 1.0
Stamp = tuple[int, int, int]


class KeySource:
    """Gives the ring of the moment.

    Args:
        path: the file of keys, if there is one.
        secret: the secret of a key with the role of an admin, if there is one.
        clock: seconds, monotonic.

    Raises:
        ConfigurationError: the file cannot be used, or the secret is too short to be hard to guess.
    """

    def __init__(
        self, path: Path | None = None, secret: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._clock = path, clock
        self._own: tuple[Key, ...] = ()
        if secret is not None:
            if len(secret) < MIN_SECRET:
                raise ConfigurationError(f"api_key: needs at least {MIN_SECRET} characters that nobody can guess")
            self._own = (Key(name=ENVIRONMENT, hash=hashed(secret), role=ADMIN),)
        self._stamp = self._look()
        self._looked = clock()
        self._ring = self._read()

    @property
    def enabled(self) -> bool:
        """Whether requests need a key at all."""
        return self._path is not None or bool(self._own)

    def ring(self) -> KeyRing:
        """The keys as they are now, at most `INTERVAL` seconds late."""
        if self._path is not None and self._clock() - self._looked >= INTERVAL:
            self._looked = self._clock()
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                self._reload()
        return self._ring

    def _reload(self) -> None:
        try:
            self._ring = self._read()
        except ConfigurationError as error:
            metrics.KEYS_RELOAD_FAILURES.inc()
            logger.error("keys stay as they were: %s", error)
        else:
            logger.info("keys read again: %s", ", ".join(key.name for key in self._ring.keys) or "none")

    def _read(self) -> KeyRing:
        keys = file.read(self._path) if self._path is not None else ()
        for key in keys:
            if self._own and key.name == ENVIRONMENT:
                raise ConfigurationError(f"{self._path}: {ENVIRONMENT} is the name of the key in the environment")
        return KeyRing((*keys, *self._own))

    def _look(self) -> Stamp | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size
