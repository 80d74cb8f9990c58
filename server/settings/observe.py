"""What the server says about itself; see `server.metrics`."""

from typing import ClassVar

from server.settings.sections import Section


class ObserveSettings(Section):
    """Metrics."""

    title: ClassVar[str] = "Observability"

    metrics_by_key: bool = False
    """Also count requests and tokens by name of the key."""
