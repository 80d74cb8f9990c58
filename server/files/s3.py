"""Objects in an S3 bucket, which several servers share: an id that one of them gave is known to all.

Through obstore, the binding of Apache Arrow's object_store: one wheel without dependencies, asynchronous, streaming,
with credentials from wherever AWS's own tools find them, for any S3-compatible service by its endpoint.
S3 answers a write when it is kept and shows it to every later read, so order is all that is needed here as well; only
lists may be a moment late in some services.
"""

from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from model.errors import ConfigurationError
from server.errors import RefusedError
from server.files.objects import CHUNK, Entry, logger, unavailable

if TYPE_CHECKING:
    from obstore import BytesStream
    from obstore.store import S3Config

T = TypeVar("T")
SCHEME = "s3://"
# What a request waits for a bucket that does not answer, before it is told so.
CONNECT = timedelta(seconds=2)
REQUEST = timedelta(seconds=60)
RETRY = timedelta(seconds=4)
RETRIES = 2


class S3Objects:
    """See `server.files.objects.Objects`.

    Args:
        url: `s3://bucket` or `s3://bucket/prefix`.
        endpoint: URL of the service; AWS's own when None.
        region: as the service calls it.
        credentials: access key and secret key; None for those that AWS's tools would find.

    Raises:
        ConfigurationError: no URL of a bucket.
    """

    def __init__(
        self,
        url: str,
        endpoint: str | None = None,
        region: str = "us-east-1",
        credentials: tuple[str, str] | None = None,
    ) -> None:
        bucket, _, prefix = url.removeprefix(SCHEME).strip("/").partition("/")
        if not url.startswith(SCHEME) or not bucket:
            raise ConfigurationError("files_url: must be s3://bucket or s3://bucket/prefix")
        config: S3Config = {"region": region}
        if endpoint:
            config["endpoint"] = endpoint
        if credentials:
            config["access_key_id"], config["secret_access_key"] = credentials
        try:
            self._store = S3Store(
                bucket,
                prefix=prefix or None,
                config=config,
                client_options={
                    "allow_http": bool(endpoint and endpoint.startswith("http://")),
                    "connect_timeout": CONNECT,
                    "timeout": REQUEST,
                },
                retry_config={"max_retries": RETRIES, "retry_timeout": RETRY},
            )
        except (BaseError, ValueError) as error:
            # The message may hold what was given.
            raise ConfigurationError(f"files_url: the bucket cannot be addressed ({type(error).__name__})") from None

    async def write(self, name: str, data: bytes) -> None:
        """One request, which S3 takes wholly or not at all."""
        await _asked(obstore.put_async(self._store, name, data, use_multipart=False))

    async def take(self, name: str, staged: Path) -> None:
        """Sent in parts where it is large; every name has bytes of its own."""
        await _asked(obstore.put_async(self._store, name, staged))

    async def read(self, name: str) -> bytes | None:
        """The whole object."""
        found = await _found(obstore.get_async(self._store, name))
        return None if found is None else bytes(await _asked(found.bytes_async()))

    async def open(self, name: str) -> AsyncIterator[bytes] | None:
        """As they arrive."""
        found = await _found(obstore.get_async(self._store, name))
        return None if found is None else _pieces(found.stream(CHUNK))

    async def remove(self, name: str) -> None:
        """One request."""
        await _found(obstore.delete_async(self._store, name))

    async def entries(self, folder: str) -> list[Entry]:
        """As many requests as there are thousands of objects."""
        found: list[Entry] = []
        stream = aiter(obstore.list(self._store, f"{folder}/" if folder else None, chunk_size=1000))
        while True:
            try:
                page = await _asked(anext(stream))
            except StopAsyncIteration:
                return found
            found += [Entry(item["path"], item["last_modified"].timestamp()) for item in page]


async def _pieces(stream: "BytesStream") -> AsyncIterator[bytes]:
    while True:
        try:
            yield bytes(await _asked(anext(stream)))
        except StopAsyncIteration:
            return


async def _found(answer: Awaitable[T]) -> T | None:
    """What the service answered, None if it has no such object. Raises as `_asked`."""
    try:
        return await answer
    except (NotFoundError, FileNotFoundError):
        return None
    except (BaseError, OSError) as error:
        raise _gone(error) from None


async def _asked(answer: Awaitable[T]) -> T:
    """What the service answered.

    Raises:
        RefusedError: 503, no answer or one that says no.
    """
    try:
        return await answer
    except (BaseError, OSError) as error:
        raise _gone(error) from None


def _gone(error: Exception) -> RefusedError:
    # The text may hold addresses and signatures.
    logger.error("the bucket of files does not answer, or not as asked (%s)", type(error).__name__)
    return unavailable()
