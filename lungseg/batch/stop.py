"""Stop a run: the first Ctrl-C or SIGTERM lets the current images finish, the second one stops at once."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

MAX_NAP_SECONDS = 0.2
"""Longest time until `StopSignal.sleep` notices a signal."""


class StopSignal:
    """A context manager that replaces the process's handlers of these signals.

    Attributes:
        is_requested: whether the run should stop.
    """

    def __init__(self) -> None:
        self.is_requested = False

    def __enter__(self) -> StopSignal:
        self._previous = [(kind, signal.signal(kind, self._handle)) for kind in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous:
            signal.signal(number, handler)

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until a stop is requested."""
        end = time.monotonic() + seconds
        while not self.is_requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(MAX_NAP_SECONDS, left))

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True
