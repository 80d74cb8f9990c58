"""Reads docker/compose.yaml as Compose does."""

import copy
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from tests.support.deploy import program
from tests.support.scripts import ROOT

FOLDER = ROOT / "docker"
FILE = FOLDER / "compose.yaml"


def source() -> dict[str, Any]:
    """The file itself, anchors resolved, variables not."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def config(*profiles: str, **environment: str) -> dict[str, Any]:
    """What `docker-compose config` makes of it with these profiles and variables.

    Debian's is version 1.29, which does not know the name of a project in the file; everything else it reads as it is.
    """
    return copy.deepcopy(_config(profiles, tuple(sorted(environment.items()))))


@lru_cache
def _config(profiles: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    command = program("docker-compose", "docker-compose")
    content = source()
    assert content.pop("name") == "quartet"
    words = [word for profile in profiles for word in ("--profile", profile)]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "docker")
        shutil.copytree(FOLDER, place)
        (place / "compose.yaml").write_text(yaml.safe_dump(content))
        done = subprocess.run(
            [command, "--file", str(place / "compose.yaml"), *words, "config"],
            env={"PATH": os.environ["PATH"], **dict(environment)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    resolved: dict[str, Any] = yaml.safe_load(done.stdout)
    return resolved
