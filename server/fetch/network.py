"""Connections to public addresses only, each to the very address that was checked.

A name is looked up once for every connection, all its addresses are checked, and one of them is connected to: a name
that answers differently the next time (DNS rebinding) gains nothing. TLS is checked against the name as usual.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore

from server.fetch.addresses import is_public

Lookup = Callable[[str, int], Awaitable[list[str]]]
# Threads for looking up names, which can hang for as long as the system's resolver likes.
_THREADS = 16


class RefusedAddressError(Exception):
    """A host has an address that is not public; nobody outside may learn that from the answer."""


class PublicNetwork(httpcore.AsyncNetworkBackend):
    """The network as far as it is public.

    Args:
        lookup: the addresses of a host and port; the system's resolver by default.
        network: what connects to an address.
    """

    def __init__(self, lookup: Lookup | None = None, network: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._lookup = lookup or SystemLookup()
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            RefusedAddressError: any of its addresses is not public.
            httpcore.ConnectError: no address, or none answers.
        """
        addresses = await self._lookup(host, port)
        if not all(map(is_public, addresses)):
            raise RefusedAddressError
        failure: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise RefusedAddressError

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemLookup:
    """The system's resolver, in threads of its own: those of others must not wait for a name server."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Addresses, each once, in the resolver's order; none if there is no such name."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _addresses, host, port)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))
