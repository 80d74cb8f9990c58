"""The resolver of `http:` and `https:` URLs: limits of size, time and number; redirects, each checked.

A refusal says what the URL may be, and what a public host answered. It never says why a host could not be reached:
whether an internal name exists or an internal port is open is nobody's business.
"""

import asyncio
import ssl
from collections.abc import Mapping

import httpcore
import httpx

from model.errors import MediaError, MediaFetchError, MediaLimitError
from model.media import MediaLimits
from server.exchange import current_exchange
from server.fetch.network import PublicNetwork, RefusedAddressError
from server.fetch.urls import Allowed, Place
from server.resolvers import known_modality, register_resolver
from server.settings import ServerSettings, current

_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS: dict[bytes | str, bytes | str] = {
    "user-agent": "quartet",
    "accept": "image/*, audio/*;q=0.9, */*;q=0.1",
    # What is packed could unpack to anything.
    "accept-encoding": "identity",
}
_UNREACHABLE = (
    "the medium could not be fetched from there; check the URL, or send the bytes as data:<type>;base64,<bytes>"
)


class WebResolver:
    """Fetches media; one for all requests.

    Args:
        allowed: which URLs.
        limits: how many bytes one may have.
        request_bytes: how many all media of one request may have.
        seconds: how long one may take, from waiting for a turn to its last byte.
        redirects: how many are followed.
        concurrency: how many are fetched at a time.
        network: what connects.
        tls: how certificates are checked; as httpx does by default.
    """

    def __init__(
        self,
        allowed: Allowed,
        limits: MediaLimits,
        *,
        request_bytes: int,
        seconds: float,
        redirects: int = 0,
        concurrency: int = 16,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed, self._limits, self._request_bytes = allowed, limits, request_bytes
        self._seconds, self._redirects = seconds, redirects
        self._turns = asyncio.Semaphore(concurrency)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or httpx.create_ssl_context(),
            # A connection serves one fetch: none is left open to a host that may mean something else tomorrow.
            max_keepalive_connections=0,
            max_connections=concurrency,
            network_backend=network or PublicNetwork(),
        )

    @classmethod
    def of(cls, settings: ServerSettings) -> "WebResolver":
        """As the operator has it."""
        return cls(
            Allowed(hosts=settings.fetch_hosts, schemes=settings.fetch_schemes, ports=settings.fetch_ports),
            settings.media_limits,
            request_bytes=settings.max_body_bytes,
            seconds=settings.fetch_seconds,
            redirects=settings.fetch_redirects,
            concurrency=settings.fetch_concurrency,
        )

    async def modality(self, url: str) -> str:
        """Decided by the first bytes."""
        return known_modality((await self._once(url))[:64])

    async def read(self, url: str) -> bytes:
        """All bytes; a URL that a request names twice is fetched once."""
        exchange = current_exchange()
        data = await self._once(url)
        exchange.fetched_uses[url] += 1
        # Nobody will ask again; the answer may take long, and the bytes need not wait for it.
        if exchange.fetched_uses[url] >= sum(part.url == url for part in exchange.parts):
            exchange.fetched.pop(url, None)
        return data

    async def _once(self, url: str) -> bytes:
        fetched = current_exchange().fetched
        if url not in fetched:
            fetched[url] = asyncio.ensure_future(self._within_time(url))
        return await fetched[url]

    async def _within_time(self, url: str) -> bytes:
        place = self._allowed.place(url)
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return await self._follow(place)
        except TimeoutError:
            raise MediaFetchError(f"the medium could not be fetched within {self._seconds:g} s") from None
        except (RefusedAddressError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError):
            raise MediaFetchError(_UNREACHABLE) from None

    async def _follow(self, place: Place) -> bytes:
        for _ in range(self._redirects + 1):
            found = await self._get(place)
            if isinstance(found, bytes):
                return found
            place = found
        raise MediaFetchError(
            f"there are more than {self._redirects} redirects on the way to the medium; give its own URL"
        )

    async def _get(self, place: Place) -> bytes | Place:
        """The bytes, or where they are said to be."""
        request = httpcore.URL(scheme=place.scheme, host=place.host, port=place.port, target=place.target)
        async with self._pool.stream("GET", request, headers=_HEADERS | {"host": place.authority}) as response:
            headers = {name.lower(): value for name, value in response.headers}
            if response.status in _REDIRECTS and self._redirects:
                return self._redirected(place, headers.get(b"location", b""))
            if response.status in _REDIRECTS:
                raise MediaFetchError(
                    "the URL answers with a redirect, which is not followed; give the medium's own URL"
                )
            if response.status != 200:
                raise MediaFetchError(f"the URL answers with status {response.status}")
            if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
                raise MediaFetchError("the URL answers with a compressed body; it must send the medium as it is")
            return await self._body(response, headers)

    async def _body(self, response: httpcore.Response, headers: Mapping[bytes, bytes]) -> bytes:
        exchange, most = current_exchange(), self._limits.max_bytes
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > most:
            raise MediaLimitError(f"the medium has {int(length[:20])} bytes, at most {most} are fetched")
        data = bytearray()
        async for piece in response.aiter_stream():
            data += piece
            exchange.fetched_bytes += len(piece)
            if len(data) > most:
                raise MediaLimitError(f"the medium has more than {most} bytes; send a smaller one")
            if exchange.fetched_bytes > self._request_bytes:
                raise MediaLimitError(
                    f"the media of the request have more than {self._request_bytes} bytes; send fewer"
                )
        return bytes(data)

    def _redirected(self, place: Place, location: bytes) -> Place:
        try:
            return self._allowed.place(place.url.join(location.decode("ascii")))
        except (MediaError, httpx.InvalidURL, ValueError):
            raise MediaFetchError("the URL answers with a redirect to where media are not fetched from") from None


def register_web() -> None:
    """Fetch from now on, if the settings name hosts."""
    settings = current()
    if settings.fetch_hosts:
        resolver = WebResolver.of(settings)
        for scheme in ("http", "https"):
            register_resolver(scheme, resolver)
