"""How the processes of the server log: a mapping for `logging.config.dictConfig`, which vLLM and uvicorn read."""

import logging
import sys
from typing import Any

from server.settings import ServerSettings


def logging_config(settings: ServerSettings) -> dict[str, Any]:
    """One handler for everybody. uvicorn's own lines of requests stay out, since `server.logs.access` writes them."""
    level = settings.log_level.upper()
    lines = {"json": "server.logs.lines.JsonLines", "text": "server.logs.lines.TextLines"}[settings.log_format]
    loud = {"level": level}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": lines}},
        "handlers": {"lines": {"()": "server.logs.config.handler", "formatter": "lines"}},
        "root": {"level": "WARNING", "handlers": ["lines"]},
        "loggers": {
            "server": loud,
            "model": loud,
            "vllm": loud,
            "uvicorn": loud,
            "uvicorn.access": {"level": "WARNING"},
            # Naming it removes the handler that it gave itself.
            "torch": {"level": "WARNING", "propagate": True},
        },
    }


def handler() -> logging.Handler:
    """Writes to standard output; Python's warnings become lines like any other."""
    logging.captureWarnings(True)
    return logging.StreamHandler(sys.stdout)
