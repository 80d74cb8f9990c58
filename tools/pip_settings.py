"""Reads the user's pip configuration and says the same thing to uv.

uv installs the lock file many times faster than pip, but does not read pip's configuration. Whoever configured a
mirror, a folder of wheels or a certificate for pip must not have to configure it again: `uv_settings` translates.
A setting without a safe counterpart (a proxy, a client certificate, ...) gives None: then pip does the work.
"""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

# How pip behaves, not what it installs from: nothing to translate.
HARMLESS = {
    "break-system-packages", "cache-dir", "compile", "config-file", "default-timeout",
    "disable-pip-version-check", "no-cache-dir", "no-color", "no-compile", "no-input",
    "no-warn-script-location", "prefer-binary", "progress-bar", "quiet", "require-virtualenv", "resume-retries",
    "retries", "root-user-action", "timeout", "verbose",
}  # fmt: skip
SCOPES = ("global", "install", ":env:")  # later wins, as in pip


def read_pip_settings(python: Path) -> dict[str, str]:
    """Returns what pip would use for `pip install`: setting name to value, lists separated by white space.

    Args:
        python: an interpreter that has pip.

    Raises:
        subprocess.CalledProcessError: pip cannot read its own configuration.
    """
    listing = subprocess.run([python, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, str]] = {scope: {} for scope in SCOPES}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        scope, _, name = key.rpartition(".")
        if scope in found:
            found[scope][name.replace("_", "-")] = str(ast.literal_eval(value))
    return {name: value for scope in SCOPES for name, value in found[scope].items()}


def uv_settings(settings: dict[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """Translates pip settings into uv's arguments and environment.

    Returns:
        Arguments for `uv pip install` and environment variables, or None when a setting has no counterpart.
    """
    arguments: list[str] = []
    environment: dict[str, str] = {}
    for name, value in settings.items():
        if name == "index-url":
            arguments.append(f"--default-index={value}")
        elif name == "extra-index-url":
            for url in value.split():
                arguments.append(f"--index={url}")
        elif name == "find-links":
            for place in value.split():
                arguments.append(f"--find-links={place}")
        elif name == "no-index":
            if value.lower() in {"1", "true", "yes", "on"}:
                arguments.append("--no-index")
        elif name == "trusted-host":
            for host in value.split():
                arguments.append(f"--allow-insecure-host={host}")
        elif name == "cert":
            environment["SSL_CERT_FILE"] = value
        elif name not in HARMLESS:
            return None
    # Every index is asked for every package, as pip does. The hashes in the lock decide what is accepted.
    return [*arguments, "--index-strategy=unsafe-best-match"], environment
