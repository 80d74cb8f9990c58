"""What a URL may look like: one reading of it, and nothing that two programs could read differently."""

import pytest

from model.errors import MediaFetchError
from server.fetch.urls import Allowed

ANY = Allowed(hosts=("*",), schemes=("http", "https"))


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://a.example.org/x.png?y=1#z", "a.example.org", 443, b"/x.png?y=1", "a.example.org"),
        ("HTTPS://A.Example.ORG:443", "a.example.org", 443, b"/", "a.example.org"),
        ("http://a.example.org./x", "a.example.org", 80, b"/x", "a.example.org"),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, b"/", "xn--bcher-kva.example"),
        # A full stop of another script is one; what looks like a letter is mapped to it before anything is checked.
        ("https://a。example.org/", "a.example.org", 443, b"/", "a.example.org"),
        ("https://8.8.8.8/", "8.8.8.8", 443, b"/", "8.8.8.8"),
        ("https://[2606:4700::1111]/", "2606:4700::1111", 443, b"/", "[2606:4700::1111]"),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, port: int, target: bytes, authority: str) -> None:
    place = ANY.place(url)
    assert (place.host, place.port, place.target, place.authority) == (host, port, target, authority)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://user@a.org/", "user name"),
        ("https://a.org@b.org/", "user name"),
        ("https://a.org:secret@b.org/", "user name"),
        ("https://a.org\\@b.org/", "backslash"),
        ("https://a.org/x y", "white space"),
        ("https://a.org/\r\nhost: b.org", "control"),
        ("https://a.org\t/", "control"),
        ("https://a.org/\0", "control"),
        ("https://localhost/", "this host"),
        ("https://LOCALHOST./", "this host"),
        ("https://a.localhost/", "this host"),
        ("https://2130706433/", "this host"),
        ("https://127.1/", "this host"),
        ("https://0x7f.0.0.1/", "this host"),
        ("https://0x7f000001/", "this host"),
        ("https://0177.0.0.1/", "not a URL"),
        ("https://a.org.0x7f/", "this host"),
        ("https:///x", "this host"),
        ("https://./x", "this host"),
        ("https://a.org:8443/", "port 8443"),
        ("https://a.org:0/", "port 0"),
        ("https://a.org:99999/", "port 99999"),
        ("https://a.org:x/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://[fe80::1%25eth0]/", "this host"),
        ("https://a%2eorg/", "this host"),
        ("https://a..org/", "this host"),
        ("ftp://a.org/", "allowed are http, https"),
        ("gopher://a.org/", "allowed are http, https"),
        ("//a.org/", "allowed are http, https"),
        ("https://a.org/" + "x" * 5000, "at most 4096"),
    ],
)
def test_what_is_refused(url: str, words: str) -> None:
    with pytest.raises(MediaFetchError) as raised:
        ANY.place(url)
    assert words in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("hosts", "url", "allowed"),
    [
        (("a.org",), "https://a.org/", True),
        (("a.org",), "https://b.a.org/", False),
        (("a.org",), "https://a.org.b.org/", False),
        (("*.a.org",), "https://b.a.org/", True),
        (("*.a.org",), "https://c.b.a.org/", True),
        (("*.a.org",), "https://a.org/", False),
        (("*.a.org",), "https://ba.org/", False),
        (("xn--bcher-kva.example",), "https://bücher.example/", True),
        (("a.org", "b.org"), "https://b.org/", True),
        ((), "https://a.org/", False),
    ],
)
def test_hosts(hosts: tuple[str, ...], url: str, allowed: bool) -> None:
    if allowed:
        assert Allowed(hosts=hosts).place(url).scheme == "https"
    else:
        with pytest.raises(MediaFetchError, match="not fetched from this host"):
            Allowed(hosts=hosts).place(url)


def test_schemes_and_ports() -> None:
    allowed = Allowed(hosts=("*",), ports=(8443, 80))
    assert allowed.place("https://a.org:8443/").authority == "a.org:8443"
    for url in ("https://a.org/", "http://a.org/"):
        with pytest.raises(MediaFetchError):
            allowed.place(url)
