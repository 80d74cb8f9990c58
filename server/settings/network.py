"""Where the server listens and what it accepts from a connection."""

from typing import Annotated, ClassVar

from pydantic import Field

from server.settings.sections import Names, Section


class NetworkSettings(Section):
    """Address, browsers, size and pace of a request."""

    title: ClassVar[str] = "Network"

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to listen on."""
    cors_origins: Names = ()
    """Web pages that may call the server from a browser, such as https://chat.example.org; * for any."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 40)] = 256 * 1024 * 1024
    """Largest request, bytes; media sent as base64 are 4/3 of their size."""
    body_timeout: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """Longest wait for the next piece of a request's body, seconds."""
