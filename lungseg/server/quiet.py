"""Rate-limit the log, so that clients cannot fill it: one line per message and minute."""

from __future__ import annotations

import logging
import time
from typing import Any

QUIET_SECONDS = 60.0

MAX_MESSAGES = 1000
"""Distinct messages to remember; a program has a few dozen."""


class OncePerMinute(logging.Filter):
    """Drop messages that were logged less than a minute ago, and append their count to the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record."""
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, record.getMessage()), time.monotonic()
        last, dropped = self._seen.get(key, (-QUIET_SECONDS, 0))
        if now - last < QUIET_SECONDS:
            self._seen[key] = last, dropped + 1
            return False
        if len(self._seen) >= MAX_MESSAGES:
            self._seen.clear()
        self._seen[key] = now, 0
        if dropped:
            record.msg = f"{record.msg} ({dropped} more were not logged)"
        return True


def log_config() -> dict[str, Any]:
    """Return uvicorn's logging configuration with the filter on every handler."""
    from uvicorn.config import LOGGING_CONFIG

    handlers = {name: {**each, "filters": ["quiet"]} for name, each in LOGGING_CONFIG["handlers"].items()}
    return LOGGING_CONFIG | {
        "filters": {"quiet": {"()": "lungseg.server.quiet.OncePerMinute"}},
        "handlers": handlers,
        "root": {"handlers": ["default"], "level": "WARNING"},
    }
