"""Write logs as one JSON object a line: no file name, no patient attribute, no pixel."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from pneumonia.credentials import redacted

SILENT = ("pydicom", "PIL", "python_multipart")
"""Libraries whose messages quote what they read."""


class JsonFormatter(logging.Formatter):
    """Format a record as a JSON object; what is in its attribute `fields` are members of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = redacted(record.getMessage())
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)


def write_json_logs(level: int = logging.INFO) -> None:
    """Write the process's logs to standard error, as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
