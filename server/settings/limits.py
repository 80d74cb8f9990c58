"""Where the limits of keys are counted; the limits themselves stand beside the keys."""

from typing import ClassVar, Literal

from pydantic import SecretStr

from server.settings.sections import Section


class LimitSettings(Section):
    """Counters of limits."""

    title: ClassVar[str] = "Limits"

    limits_url: SecretStr | None = None
    """Redis that several servers share, redis://[:password@]host:port/db; by default each counts for itself."""
    limits_without_store: Literal["open", "closed"] = "open"
    """While Redis does not answer: open counts in each server by itself, closed refuses with 503."""

    @property
    def limits_store(self) -> str | None:
        """The URL, with its password."""
        return self.limits_url.get_secret_value() if self.limits_url else None
