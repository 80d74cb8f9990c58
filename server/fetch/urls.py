"""From the text of a URL to what is connected to, or a refusal that says what is allowed.

The URL is taken apart once. What comes out is all that anybody later looks at, so there are no two readings of it.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

import httpx

from model.errors import MediaFetchError

MAX_LENGTH = 4096
_PORTS = {"http": 80, "https": 443}
# White space, control characters, and the backslash that some take for a slash.
_STRANGE = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a medium is."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in lower case and ASCII, without a dot at its end, or an IP address without brackets."""
    port: int
    target: bytes
    """Path and query, as they are sent."""
    url: httpx.URL
    """The whole, to which redirects are relative."""

    @property
    def authority(self) -> str:
        """Host, in brackets if it is an IPv6 address, and port, if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """What may be fetched."""

    hosts: Collection[str]
    """Names, `*.name` for what is below one, `*` for all."""
    schemes: Collection[str] = ("https",)
    ports: Collection[int] = ()
    """None means the scheme's own."""

    def place(self, url: str | httpx.URL) -> Place:
        """Take a URL apart.

        Raises:
            MediaFetchError: not a URL, or one that may not be fetched.
        """
        if isinstance(url, str) and len(url) > MAX_LENGTH:
            raise MediaFetchError(f"the URL has {len(url)} characters, at most {MAX_LENGTH} are accepted")
        if isinstance(url, str) and _STRANGE.search(url):
            raise MediaFetchError("the URL holds white space, control characters or a backslash; encode them")
        try:
            parsed = httpx.URL(url)
            host = parsed.raw_host.decode("ascii").lower()
        except (httpx.InvalidURL, ValueError, TypeError):
            raise MediaFetchError("not a URL; send https://host/path") from None
        if parsed.userinfo:
            raise MediaFetchError("the URL holds a user name or password; such URLs are not fetched")
        if parsed.scheme not in self.schemes:
            raise MediaFetchError(f"{parsed.scheme[:16]!r} URLs are not fetched; allowed are {', '.join(self.schemes)}")
        host = host.removesuffix(".")
        if not self._allows(host):
            raise MediaFetchError("media are not fetched from this host; send the bytes as data:<type>;base64,<bytes>")
        own = _PORTS[parsed.scheme]
        port = own if parsed.port is None else parsed.port
        if port not in (self.ports or (own,)):
            raise MediaFetchError(f"media are not fetched from port {port}")
        return Place(scheme=parsed.scheme, host=host, port=port, target=parsed.raw_path, url=parsed)

    def _allows(self, host: str) -> bool:
        if not host or host == "localhost" or host.endswith(".localhost"):
            return False
        if not _is_plain(host):
            return False
        return any(
            pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
            for pattern in self.hosts
        )


def _is_plain(host: str) -> bool:
    """Whether it is a name or an address in its usual spelling.

    What ends in a number is an address to some resolvers: 127.1, 0x7f000001, 017700000001.
    """
    if _NAME.fullmatch(host) and not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return str(address) == host if address.version == 4 else "%" not in host
