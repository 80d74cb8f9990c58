"""Where settings come from: flags, then the environment, then a YAML file, then the defaults.

The names are the same everywhere: `--max-media 10`, `QUARTET_MAX_MEDIA=10`, `max_media: 10`. Unknown names are refused
with the name that was probably meant. Secrets are not accepted as flags, which every user of the machine can read.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import EnvSettingsSource, SettingsError

from model.errors import ConfigurationError
from server.settings.messages import unknown
from server.settings.server import PREFIX, ServerSettings

DEFAULT = "default"
# Read elsewhere: the folder of downloaded weights, the tool that installs, the file with settings.
OTHER_VARIABLES = ("QUARTET_CACHE", "QUARTET_INSTALLER", "QUARTET_CONFIG")
# Kubernetes describes a service called `quartet` by these variables in every pod of its namespace.
_SERVICE_LINK = re.compile(r"QUARTET_(?:SERVICE_(?:HOST|PORT\w*)|PORT_\d+_(?:TCP|UDP|SCTP)\w*)")
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


@dataclass(frozen=True)
class Loaded:
    """The effective settings and who said what."""

    settings: ServerSettings
    origins: Mapping[str, str]
    """Field -> `--port`, `QUARTET_PORT`, the path of the file, or `default`."""


def load(flags: Mapping[str, Any], file: str | None = None) -> Loaded:
    """Settings of this process.

    Args:
        flags: values by field name that win over everything else.
        file: path of a YAML file; `QUARTET_CONFIG` when not given.

    Raises:
        ConfigurationError: an unknown name, an impossible value, or an unreadable file; names where it was said.
    """
    path = file or os.environ.get("QUARTET_CONFIG")
    given: dict[str, tuple[Any, str]] = {}
    if path:
        given |= {name: (value, path) for name, value in read_file(Path(path)).items()}
    given |= {name: (value, PREFIX + name.upper()) for name, value in read_environment().items()}
    given |= {name: (value, "--" + name.replace("_", "-")) for name, value in flags.items()}
    try:
        settings = ServerSettings(**{name: value for name, (value, _) in given.items()})
    except ConfigurationError as error:
        _, origin = given.get(str(error).partition(":")[0], (None, ""))
        raise ConfigurationError(f"{error} (from {origin})" if origin else str(error)) from None
    return Loaded(
        settings, {name: given[name][1] if name in given else DEFAULT for name in ServerSettings.model_fields}
    )


@lru_cache(maxsize=1)
def current() -> ServerSettings:
    """The settings of this server process, from the environment the launcher made."""
    return load({}).settings


def read_environment() -> dict[str, Any]:
    """The settings in this process's environment.

    Raises:
        ConfigurationError: a variable that starts with QUARTET_ and is no setting.
    """
    names = {PREFIX + name.upper() for name in ServerSettings.model_fields}
    for variable in os.environ:
        if variable.startswith(PREFIX) and not (
            variable in names or variable in OTHER_VARIABLES or _SERVICE_LINK.fullmatch(variable)
        ):
            raise ConfigurationError(unknown(variable, names))
    try:
        values = EnvSettingsSource(ServerSettings)()
    except SettingsError as error:
        raise ConfigurationError(f"environment: {error}") from None
    return {
        name: value for name, value in values.items() if not (name == "port" and _SERVICE_ADDRESS.match(str(value)))
    }


def read_file(path: Path) -> dict[str, Any]:
    """The settings in a YAML file.

    Raises:
        ConfigurationError: not readable, not YAML, not a mapping, a key given twice or unknown; names file and line.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {getattr(error, 'strerror', None) or 'is not UTF-8 text'}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{line}: not YAML: {getattr(error, 'problem', None) or 'unreadable'}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise ConfigurationError(f"{path}: expected settings as `name: value`, got {type(values).__name__}")
    seen: set[str] = set()
    for key, _ in node.value:
        name, where = str(key.value), f"{path}:{key.start_mark.line + 1}: "
        if name in seen:
            raise ConfigurationError(f"{where}{name}: given twice")
        if name not in ServerSettings.model_fields:
            raise ConfigurationError(unknown(name, ServerSettings.model_fields, where))
        seen.add(name)
    return {str(name): value for name, value in values.items()}
