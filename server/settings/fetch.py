"""Where media named by a URL may come from; by default from nowhere."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from server.settings.sections import Names, Numbers, Section


class FetchSettings(Section):
    """Fetching over http and https."""

    title: ClassVar[str] = "Fetching"

    fetch_hosts: Names = ()
    """Hosts to fetch media from: `example.org`, `*.example.org`, or `*` for any public one; none by default."""
    fetch_schemes: Names = ("https",)
    """Of URLs that are fetched: `https`, `http`."""
    fetch_ports: Numbers = ()
    """Ports that a URL may name; by default only its scheme's own."""
    fetch_redirects: Annotated[int, Field(ge=0, le=10)] = 0
    """Most redirects that are followed, each one checked."""
    fetch_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Longest time for one medium, seconds."""
    fetch_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Most media that are fetched at a time."""

    @field_validator("fetch_schemes")
    @classmethod
    def _known(cls, schemes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in schemes if name not in ("http", "https")]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is neither http nor https")
        return schemes

    @field_validator("fetch_ports")
    @classmethod
    def _ports(cls, ports: tuple[int, ...]) -> tuple[int, ...]:
        if not all(0 < port < 65536 for port in ports):
            raise ValueError("ports are 1..65535")
        return ports

    @field_validator("fetch_hosts")
    @classmethod
    def _hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            name = host.removeprefix("*.") if host != "*" else "a"
            if not name or not name.isascii() or any(sign in name for sign in "*:/@ ") or name != name.lower():
                raise ValueError(f"{host!r} is no host: give a name in lower case and ASCII, `*.name` or `*`")
        return hosts
