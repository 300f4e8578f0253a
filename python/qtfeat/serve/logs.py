"""Logs as JSON lines on standard error. Neither features nor tokens nor query strings are ever logged."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

LOGGER = "qtfeat.serve"
log = logging.getLogger(LOGGER)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, logger, event, what the caller added under `extra={"facts": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def set_up(level: str = "INFO") -> None:
    """Send the logs of the server and of uvicorn to standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    for name in (LOGGER, "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level.upper())
    # The server writes its own access log, with request ids.
    logging.getLogger("uvicorn.access").handlers = []
    logging.getLogger("uvicorn.access").propagate = False


def tell(event: str, level: int = logging.INFO, **facts: Any) -> None:
    """Log an event with its facts."""
    if log.isEnabledFor(level):
        log.log(level, event, extra={"facts": facts})
