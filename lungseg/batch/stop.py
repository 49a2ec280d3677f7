"""Ending a run: the first Ctrl-C or SIGTERM lets the images in work be finished, the second one ends it at once."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType

STEP = 0.2
"""Seconds until a sleeper notices."""


class StopSignal:
    """As a context, it takes the place of what the process does on these signals.

    Attributes:
        is_requested: whether the run is to end.
    """

    def __init__(self) -> None:
        self.is_requested = False

    def __enter__(self) -> StopSignal:
        self._before = [(kind, signal.signal(kind, self._note)) for kind in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the end of the run."""
        end = time.monotonic() + seconds
        while not self.is_requested and (left := end - time.monotonic()) > 0:
            time.sleep(min(STEP, left))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_requested:
            raise KeyboardInterrupt
        self.is_requested = True
