"""A log that clients cannot fill: of each message, one line a minute."""

from __future__ import annotations

import logging
import time
from typing import Any

QUIET_SECONDS = 60.0

MAX_MESSAGES = 1000
"""Different messages that are remembered; a program has some dozen."""


class OncePerMinute(logging.Filter):
    """Drops a message that was logged less than a minute ago, and says how many were dropped when it comes again."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be logged."""
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
    """Return uvicorn's own configuration of logging, with the filter on all that this process logs."""
    from uvicorn.config import LOGGING_CONFIG

    handlers = {name: {**each, "filters": ["quiet"]} for name, each in LOGGING_CONFIG["handlers"].items()}
    return LOGGING_CONFIG | {
        "filters": {"quiet": {"()": "lungseg.server.quiet.OncePerMinute"}},
        "handlers": handlers,
        "root": {"handlers": ["default"], "level": "WARNING"},
    }
