"""A directory for one run of the server: what its processes leave for each other, gone when the server ends.

    *.db           numbers of `server.metrics`: every process writes its own, whoever is scraped adds them up
    logging.json   how every process logs (`server.logs`)

It must be there before the server's process starts: prometheus_client and vLLM look at the environment when they are
imported.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

METRICS = "PROMETHEUS_MULTIPROC_DIR"
LOGGING = "VLLM_LOGGING_CONFIG_PATH"
_PREFIX = "quartet-run-"


def new_scratch(environment: Mapping[str, str], logging_config: Mapping[str, Any]) -> dict[str, str]:
    """Make the directory, always a new one: numbers of an earlier run would be added to those of this one.

    Returns:
        The variables that name what is in it; what the operator named stays.
    """
    parent = environment.get(METRICS)
    if parent:
        os.makedirs(parent, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent or None))
    variables = {METRICS: str(directory)}
    if LOGGING not in environment:
        path = directory / "logging.json"
        path.write_text(json.dumps(logging_config), encoding="utf-8")
        variables[LOGGING] = str(path)
    return variables


def remove_scratch() -> None:
    """Remove the directory of this server, if `new_scratch` made it."""
    path = os.environ.get(METRICS, "")
    if os.path.basename(path).startswith(_PREFIX):
        shutil.rmtree(path, ignore_errors=True)
