"""Fetching through a loopback listener and an injected resolver; no other address is ever connected to."""

import asyncio
import datetime
import gzip
import ipaddress
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from model.errors import MediaError, MediaFetchError, MediaLimitError
from model.media import MediaLimits
from server.content import Part
from server.exchange import Exchange, begin, current_exchange
from server.fetch.network import PublicNetwork, SystemLookup
from server.fetch.urls import Allowed
from server.fetch.web import WebResolver
from tests.server.fetch.network import PUBLIC, Loopback, Names, Site, ok, redirect, site

MEDIUM = b"\x89PNG\r\n\x1a\n" + bytes(1000)
URL = "http://a.org/x.png"
NAMES = {"a.org": [PUBLIC], "b.org": [PUBLIC]}


def resolver(served: Site, names: Names | None = None, deaf: tuple[str, ...] = (), **options: Any) -> WebResolver:
    limits = MediaLimits(max_bytes=options.pop("max_bytes", 5000))
    allowed = Allowed(
        hosts=options.pop("hosts", ("*",)),
        schemes=options.pop("schemes", ("http", "https")),
        ports=options.pop("ports", ()),
    )
    options = {"request_bytes": 1 << 20, "seconds": 20.0, **options}
    network = PublicNetwork(names or Names(NAMES), Loopback(served.port, deaf))
    made = WebResolver(allowed, limits, network=network, **options)
    made.loopback = network._network  # type: ignore[attr-defined]
    return made


def connected(made: WebResolver) -> list[tuple[str, int]]:
    return list(made.loopback.connected)  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def exchange() -> Exchange:
    made = Exchange(request_id="")
    begin(made)
    return made


async def refusal(reading: Awaitable[bytes], kind: type[MediaError] = MediaFetchError) -> str:
    with pytest.raises(kind) as raised:
        await reading
    assert type(raised.value) is kind
    return str(raised.value)


async def test_a_medium() -> None:
    async with site(ok(MEDIUM)) as served:
        made = resolver(served)
        assert await made.modality(URL) == "image"
        assert await made.read(URL + "?y=1#z") == MEDIUM
    assert connected(made) == [(PUBLIC, 80)] * 2
    lines = served.requests[1].split(b"\r\n")
    assert lines[0] == b"GET /x.png?y=1 HTTP/1.1"
    sent = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
    assert set(sent) == {b"host", b"user-agent", b"accept", b"accept-encoding"}
    assert (sent[b"host"], sent[b"accept-encoding"]) == (b"a.org", b"identity")


async def test_a_url_is_fetched_once_a_request(exchange: Exchange) -> None:
    exchange.parts += [Part("a", "image", URL), Part("b", "image", URL)]
    async with site(ok(MEDIUM)) as served:
        made = resolver(served)
        await made.modality(URL)
        assert await asyncio.gather(made.read(URL), made.read(URL)) == [MEDIUM] * 2
        assert len(served.requests) == 1
        assert exchange.fetched == {}
        begin(Exchange(request_id=""))
        await made.read(URL)
        assert len(served.requests) == 2


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["169.254.169.254"],
        [PUBLIC, "10.0.0.1"],
        ["64:ff9b::a00:1"],
        ["fe80::1%eth0"],
        [],
    ],
)
async def test_no_address_but_public_ones(addresses: list[str]) -> None:
    """Whatever is behind a name that is not public, also if it does not exist: one and the same answer."""
    async with site(ok(MEDIUM)) as served:
        made = resolver(served, Names({"a.org": addresses}))
        unreachable = resolver(served, deaf=(PUBLIC,))
        assert await refusal(made.read(URL)) == await refusal(unreachable.read("http://b.org/"))
    assert connected(made) == []
    assert served.requests == []


async def test_a_name_that_changes_its_mind() -> None:
    """DNS rebinding: the first answer is public, every later one is not."""
    names = Names({"a.org": [[PUBLIC], ["127.0.0.1"]]})
    async with site(ok(MEDIUM)) as served:
        made = resolver(served, names)
        assert await made.read(URL) == MEDIUM
        assert (names.asked, connected(made)) == (["a.org"], [(PUBLIC, 80)])
        begin(Exchange(request_id=""))
        await refusal(made.read(URL))
        assert (names.asked, connected(made)) == (["a.org"] * 2, [(PUBLIC, 80)])
        assert len(served.requests) == 1


async def test_the_next_address_is_tried() -> None:
    second = "93.184.215.15"
    async with site(ok(MEDIUM)) as served:
        made = resolver(served, Names({"a.org": [PUBLIC, second]}), deaf=(PUBLIC,))
        assert await made.read(URL) == MEDIUM
    assert connected(made) == [(PUBLIC, 80), (second, 80)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_off(status: int) -> None:
    async with site(redirect("http://b.org/", status)) as served:
        assert "redirect, which is not followed" in await refusal(resolver(served).read(URL))
        assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("location", "reached"),
    [
        ("http://127.0.0.1/", False),
        ("http://localhost/", False),
        ("http://[::1]/", False),
        ("http://2130706433/", False),
        ("http://inside.org/", False),
        ("http://user@b.org/", False),
        ("http://b.org:22/", False),
        ("file:///etc/passwd", False),
        ("ftp://b.org/", False),
        ("//inside.org/", False),
        ("http://b.org/\xff", False),
        ("", False),
        ("/y", True),
        ("//b.org/y", True),
        ("http://b.org/y", True),
    ],
)
async def test_every_redirect_is_checked(location: str, reached: bool) -> None:
    names = Names(NAMES | {"inside.org": ["10.0.0.1"], "127.0.0.1": ["127.0.0.1"], "::1": ["::1"]})
    answers = [redirect(location), ok(MEDIUM)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answers.pop(0))
        await writer.drain()

    async with site(answer) as served:
        made = resolver(served, names, redirects=1)
        if reached:
            assert await made.read(URL) == MEDIUM
            assert b"GET /y HTTP/1.1" in served.requests[1]
        elif location:
            await refusal(made.read(URL))
            assert len(served.requests) == 1
        else:
            # It leads to where it is: the next answer is a medium.
            assert await made.read(URL) == MEDIUM
    assert {address for address, _ in connected(made)} == {PUBLIC}


async def test_redirects_end() -> None:
    async with site(redirect("/again")) as served:
        assert "more than 2 redirects" in await refusal(resolver(served, redirects=2).read(URL))
        assert len(served.requests) == 3


async def test_only_allowed_hosts_also_after_a_redirect() -> None:
    async with site(redirect("http://b.org/")) as served:
        made = resolver(served, hosts=("a.org",), redirects=1)
        assert "not fetched from this host" in await refusal(made.read("http://b.org/"))
        assert "redirect to where media are not fetched from" in await refusal(made.read(URL))
        assert len(served.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (ok(bytes(6000)), MediaLimitError, "has 6000 bytes, at most 5000"),
        (ok(b"", length=10**18), MediaLimitError, "at most 5000"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(6000), MediaLimitError, "more than 5000 bytes"),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"7d0\r\n%s\r\n" % bytes(2000) * 9,
            MediaLimitError,
            "more than 5000 bytes",
        ),
        (ok(gzip.compress(bytes(10**6)), b"content-encoding: gzip"), MediaFetchError, "compressed body"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", MediaFetchError, "answers with status 404"),
        (b"HTTP/1.1 206 Partial\r\ncontent-length: 4\r\n\r\nabcd", MediaFetchError, "answers with status 206"),
        (ok(b"short", length=100), MediaFetchError, "could not be fetched"),
        (b"", MediaFetchError, "could not be fetched"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", MediaFetchError, "could not be fetched"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 100_000 + b"\r\n", MediaFetchError, "could not be fetched"),
    ],
)
async def test_hostile_answers(answer: bytes, kind: type[MediaError], words: str) -> None:
    async with site(answer) as served:
        message = await refusal(resolver(served).read(URL), kind)
        assert words in message
        assert "OpenSSH" not in message


async def test_all_media_of_a_request_together() -> None:
    async with site(ok(bytes(3000))) as served:
        made = resolver(served, request_bytes=5000)
        await made.read(URL)
        assert "the media of the request have more than 5000 bytes" in await refusal(
            made.read(URL + "2"), MediaLimitError
        )
        assert current_exchange().fetched_bytes > 5000


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never stops, never hurries."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize("answer", [drip, silence])
async def test_time_is_limited(answer: Callable[..., Awaitable[None]]) -> None:
    async with site(answer) as served:
        begun = time.monotonic()
        assert "within 0.3 s" in await refusal(resolver(served, seconds=0.3).read(URL))
        assert time.monotonic() - begun < 10


async def test_a_name_server_that_does_not_answer() -> None:
    async def hang(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    async with site(ok(MEDIUM)) as served:
        made = resolver(served, hang, seconds=0.2)  # type: ignore[arg-type]
        assert "within 0.2 s" in await refusal(made.read(URL))


async def test_only_so_many_at_a_time() -> None:
    most = running = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        writer.write(ok(MEDIUM))
        await writer.drain()

    async with site(answer) as served:
        made = resolver(served, concurrency=2)
        assert await asyncio.gather(*(made.read(f"{URL}?{n}") for n in range(6))) == [MEDIUM] * 6
    assert most == 2


async def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine a.org login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    async with site(ok(MEDIUM, b"set-cookie: a=b")) as served, site(b"HTTP/1.1 502 Proxy\r\n\r\n") as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        made = resolver(served)
        for n in range(2):
            assert await made.read(f"{URL}?{n}") == MEDIUM
        assert proxy.requests == []
    assert not any(b"authorization" in head.lower() or b"cookie" in head.lower() for head in served.requests)


def authority(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a site of this name shows, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "site.pem").write_bytes(private + pem)
    shows = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shows.load_cert_chain(folder / "site.pem")
    return shows, ssl.create_default_context(cadata=pem.decode())


async def test_tls_checks_the_name_although_an_address_is_connected_to(tmp_path: Path) -> None:
    shows, trusts = authority(tmp_path, "a.org")
    asked: list[str | None] = []
    shows.sni_callback = lambda _, name, __: asked.append(name)
    async with site(ok(MEDIUM), ssl=shows) as served:
        assert await resolver(served, tls=trusts).read("https://a.org/") == MEDIUM
        assert await resolver(served, tls=trusts).read("https://A.org.:443/") == MEDIUM
        assert asked == ["a.org", "a.org"]
        begin(Exchange(request_id=""))
        assert "could not be fetched" in await refusal(resolver(served, tls=trusts).read("https://b.org/"))
        # Trusted by nobody.
        assert "could not be fetched" in await refusal(resolver(served).read("https://a.org/"))
    assert len(served.requests) == 2


async def test_the_system_s_resolver_is_asked_for_addresses_only() -> None:
    assert await SystemLookup()("93.184.215.14", 80) == ["93.184.215.14"]
    assert await SystemLookup()("2130706433", 80) in ([], ["127.0.0.1"])
    assert await SystemLookup()("a" * 300 + ".org", 80) == []
