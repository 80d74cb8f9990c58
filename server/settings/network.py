"""Where the server listens and what it accepts from a connection."""

from typing import Annotated, ClassVar

from pydantic import Field

from server.settings.sections import Names, Section


class NetworkSettings(Section):
    """Address, browsers, connections, size and pace of a request."""

    title: ClassVar[str] = "Network"

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""
    cors_origins: Names = ()
    """Web pages that may call the server from a browser, such as https://chat.example.org; * for any."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 256 * 1024 * 1024
    """Largest request, bytes; media sent as base64 are 4/3 of their size."""
    head_timeout: Annotated[float, Field(ge=0.1, le=86_400)] = 10.0
    """Longest time for the head of a request to be complete, seconds, from the connection or its first byte on."""
    body_timeout: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """Longest wait for the next piece of a request's body, seconds."""
    send_timeout: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """Longest wait for a client to read what was sent to it, seconds; then its connection is cut."""
    idle_timeout: Annotated[int, Field(ge=1, le=86_400)] = 5
    """Longest pause between an answer and the next request of a connection, seconds."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Most connections at a time; a further one takes the place of the one that has been silent longest."""
