"""The effective settings as a YAML file that says where each value came from; secrets are only named."""

from typing import Any

import yaml

from server.settings.messages import is_secret
from server.settings.server import ServerSettings
from server.settings.sources import Loaded

COLUMN = 48


def show(loaded: Loaded) -> str:
    """A file that `--config` accepts and that gives the same settings, but for secrets, which stay out of it."""
    lines: list[str] = []
    for section, names in ServerSettings.sections().items():
        lines += ["", f"# {section.title}"] if lines else [f"# {section.title}"]
        lines += [_line(name, getattr(loaded.settings, name), loaded.origins[name]) for name in names]
    return "\n".join(lines) + "\n"


def _line(name: str, value: Any, origin: str) -> str:
    if is_secret(ServerSettings.model_fields[name]):
        return f"# {name}: {'not set' if value is None else f'set, from {origin}'}"
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=100_000, allow_unicode=True)
    spelled = text.strip().removesuffix("\n...")  # a bare value ends with a document mark
    return f"{f'{name}: {spelled}':<{COLUMN}}  # {origin}"
