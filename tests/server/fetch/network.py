"""A network for tests: names from a table, and every address is a listener on the loopback interface."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

import httpcore

PUBLIC = "93.184.215.14"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Names:
    """Answers with the addresses of a name; with the next ones each time, if it has several answers."""

    def __init__(self, table: Mapping[str, Sequence[str] | Sequence[Sequence[str]]]) -> None:
        self.asked: list[str] = []
        self._table = {name: list(answers) for name, answers in table.items()}

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self._table.get(host, [])
        if answers and not isinstance(answers[0], str):
            return list(answers.pop(0) if len(answers) > 1 else answers[0])
        return [str(address) for address in answers]


class Loopback(httpcore.AsyncNetworkBackend):
    """Connects to one port of 127.0.0.1, whatever is asked for, and remembers what was."""

    def __init__(self, port: int, deaf: Sequence[str] = ()) -> None:
        self.port, self.deaf = port, deaf
        self.connected: list[tuple[str, int]] = []
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        if host in self.deaf:
            raise httpcore.ConnectError("refused")
        return await self._network.connect_tcp("127.0.0.1", self.port, timeout)


class Site:
    """A web server on the loopback interface that gives one answer and remembers what it was asked."""

    def __init__(self, answer: bytes | Answer) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            if callable(self._answer):
                await self._answer(reader, writer)
            else:
                writer.write(self._answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def site(answer: bytes | Answer, **options: object) -> AsyncIterator[Site]:
    """Serve while the block runs; `options` are those of `asyncio.start_server`."""
    served = Site(answer)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, **options)  # type: ignore[arg-type]
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()


def ok(body: bytes, *headers: bytes, length: int | None = None) -> bytes:
    """A whole answer."""
    lines = [b"HTTP/1.1 200 OK", b"content-length: %d" % (len(body) if length is None else length), *headers]
    return b"\r\n".join([*lines, b"", b""]) + body


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()
