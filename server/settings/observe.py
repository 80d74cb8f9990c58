"""What the server says about itself; see `server.metrics`, `server.logs` and `server.traces`."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from server.settings.sections import Section


class ObserveSettings(Section):
    """Metrics, logs and traces."""

    title: ClassVar[str] = "Observability"

    metrics_by_key: bool = False
    """Also count requests and tokens by name of the key."""
    log_format: Literal["text", "json"] = "text"
    """Lines of the log: text for people, JSON for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines that are written."""
    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Collector of OpenTelemetry traces, such as http://collector:4317; by default nothing is traced."""
    otlp_protocol: Literal["grpc", "http/protobuf"] = "grpc"
    """How traces are sent; with http/protobuf the endpoint ends in /v1/traces."""
