"""Logs on standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from serving.settings import LogSettings

_LEVELS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL", "PANIC": "CRITICAL"}


class JsonFormatter(logging.Formatter):
    """One object a line: `@timestamp`, `level`, `@message`, `logger`, and what was logged as `extra={"fields": …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told = {
            "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "@message": record.getMessage(),
            "logger": record.name,
        }
        told |= getattr(record, "fields", {})
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def configure(settings: LogSettings) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.log_format == "json"
    handler.setFormatter(
        JsonFormatter() if is_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    level = _LEVELS.get(settings.log_level, settings.log_level)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # It tells of every change of a file; what became of the change is told by us.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
