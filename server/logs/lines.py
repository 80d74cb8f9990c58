"""A log record as one line: JSON for machines, or text for people, of which tracebacks take several."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from server.exchange import current_exchange
from server.logs import safe

FIELDS = "fields"
"""Name of the attribute with which our code gives a record numbers and names of its own."""


class _Lines(logging.Formatter):
    """What both forms have in common."""

    def parts(self, record: logging.LogRecord) -> dict[str, Any]:
        """Name -> value, in the order of the line."""
        parts: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": getattr(record, "vllm_process_name", record.processName),
            "message": safe.message(record),
        }
        parts |= getattr(record, FIELDS, {})
        if record.name.partition(".")[0] in safe.OURS and (request_id := current_exchange().request_id):
            parts["request_id"] = request_id
        if (raised := safe.raised(record)) is not None:
            parts["exception"] = raised
        return parts


class JsonLines(_Lines):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        # A lone surrogate can be in a string, but not in UTF-8.
        return json.dumps(self.parts(record), ensure_ascii=False, default=str).encode(errors="replace").decode()


class TextLines(_Lines):
    """Time, level, logger, message, and what else there is as name=value."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; what follows it is indented."""
        parts = self.parts(record)
        time, level, logger, process, message = (
            parts.pop(name) for name in ("time", "level", "logger", "process", "message")
        )
        exception = parts.pop("exception", None)
        line = f"{time} {level.upper()} {logger} [{process}] {message}"
        line += "".join(f" {name}={value}" for name, value in parts.items() if value is not None)
        if exception is not None:
            line += "\n" + exception
        return line.replace("\n", "\n    ").encode(errors="replace").decode()
