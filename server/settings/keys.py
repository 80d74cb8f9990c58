"""Who may call the server; see `server.keys`."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import SecretStr

from server.settings.sections import Section


class KeySettings(Section):
    """API keys."""

    title: ClassVar[str] = "Keys"

    keys_file: str | None = None
    """File of API keys, made by `quartet keys`; changes hold at once. By default nobody needs a key."""
    api_key: SecretStr | None = None
    """One API key that may do everything, beside those of the file; at least 24 characters."""
    metrics_access: Literal["open", "user", "admin"] = "admin"
    """Who may read /metrics where keys are on."""

    @property
    def secret_key(self) -> str | None:
        """The one key, in the clear."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def keys_path(self) -> Path | None:
        """The file of keys."""
        return Path(self.keys_file).expanduser() if self.keys_file else None
