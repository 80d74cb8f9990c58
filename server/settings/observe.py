"""What the server says about itself; see `server.metrics` and `server.logs`."""

from typing import ClassVar, Literal

from server.settings.sections import Section


class ObserveSettings(Section):
    """Metrics and logs."""

    title: ClassVar[str] = "Observability"

    metrics_by_key: bool = False
    """Also count requests and tokens by name of the key."""
    log_format: Literal["text", "json"] = "text"
    """Lines of the log: text for people, JSON for machines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least important lines that are written."""
