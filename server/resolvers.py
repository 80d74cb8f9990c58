"""From the address of a medium to its bytes: one resolver for each scheme a request may use.

`data:` is always there. Whoever adds another source of bytes (uploaded files, a fetcher for https) registers a
`Resolver` for its scheme in the endpoint plugin; nothing else needs to know. A file of the Files API is addressed as
`file-id:<id>`, which is what a bare `file-...` in a request becomes.
"""

import base64
import binascii
from typing import Protocol, runtime_checkable

from model.errors import MediaError
from model.media import decode_data_url, modality_of

FILE_SCHEME = "file-id"
# Enough of a file to know what it is; a multiple of four characters of base64.
_SNIFFED = 64


class Resolver(Protocol):
    """Reads what the addresses of one scheme name, on behalf of the request at hand."""

    async def modality(self, url: str) -> str:
        """`image` or `audio`, judged by the bytes.

        Raises:
            MediaError: not there, not allowed, or neither a picture nor a sound.
        """
        ...

    async def read(self, url: str) -> bytes:
        """The bytes.

        Raises:
            MediaError: not there or not allowed.
        """
        ...


@runtime_checkable
class KnowsDigest(Protocol):
    """A resolver that need not read a medium to know which one it is."""

    async def digest(self, url: str) -> str:
        """The sha256 of the bytes, hexadecimal. Raises as `Resolver.read`."""
        ...


class DataUrls:
    """`data:<type>;base64,<bytes>`; the declared type plays no role."""

    async def modality(self, url: str) -> str:
        """Decided by the first bytes."""
        return known_modality(_beginning(url))

    async def read(self, url: str) -> bytes:
        """All bytes."""
        return decode_data_url(url)


_resolvers: dict[str, Resolver] = {"data": DataUrls()}


def register_resolver(scheme: str, resolver: Resolver) -> None:
    """Read addresses that begin with `scheme:` through `resolver` from now on."""
    _resolvers[scheme] = resolver


def resolver_of(url: str) -> Resolver:
    """Who reads this address.

    Raises:
        MediaError: nobody does.
    """
    scheme = url.partition(":")[0][:16].lower()
    if scheme in _resolvers:
        return _resolvers[scheme]
    if scheme == FILE_SCHEME:
        raise MediaError("this server keeps no files; send the bytes as data:<type>;base64,<bytes>")
    raise MediaError(f"{scheme!r} URLs are not fetched; send the bytes as data:<type>;base64,<bytes>")


def address(url: str) -> str:
    """`file-abc` -> `file-id:file-abc`; anything else stays as it is."""
    return f"{FILE_SCHEME}:{url}" if url.startswith("file-") and ":" not in url[:80] else url


def known_modality(beginning: bytes) -> str:
    """The modality of a file that begins with these bytes.

    Raises:
        MediaError: neither a picture nor a sound.
    """
    modality = modality_of(beginning)
    if modality is None:
        raise MediaError("the file is neither a picture nor a sound that this server reads; send its text as text")
    return modality


def _beginning(url: str) -> bytes:
    start = url.find(",", 0, 256) + 1
    if not start:
        raise MediaError("not a base64 data URL: send data:<type>;base64,<bytes>")
    characters = url[start : start + _SNIFFED]
    try:
        return base64.b64decode(characters + "=" * (-len(characters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise MediaError("the data URL's base64 is broken; encode the bytes again") from None
