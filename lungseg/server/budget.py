"""A budget of bytes for what a server holds on behalf of slow clients: bodies that arrive, answers that leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lungseg.server.intake import STEP

MIN_STALL_SECONDS = 1.0
"""A client that made progress within this time does not give way to another one."""


@dataclass(eq=False)
class Hold:
    """The bytes of one request.

    Attributes:
        evict: ends the request; called at most once.
        waits: whether the server waits for the client, so that the request may be evicted.
    """

    budget: Budget
    evict: Callable[[], None]
    waits: bool = True
    held: int = 0
    progress: float = field(default_factory=time.monotonic)
    _moved: int = 0

    def move(self, count: int) -> None:
        """Note that so many bytes came from or went to the client."""
        self._moved += count
        if self._moved >= STEP:
            self._moved, self.progress = 0, time.monotonic()

    def grow(self, count: int) -> bool:
        """Hold so many bytes more, if stalled requests need to be evicted for it; return False if there is no room."""
        if not self.budget.make_room(count, self):
            return False
        self._add(count)
        return True

    def start_answer(self, count: int) -> None:
        """Hold an answer instead of the body; it is there, so that it counts also where there is no room for it."""
        self._add(-self.held)
        self.budget.make_room(count, self)
        self._add(count)
        self.waits, self._moved, self.progress = True, 0, time.monotonic()

    def close(self) -> None:
        """Give back everything."""
        self._add(-self.held)
        self.budget.holds.discard(self)

    def _add(self, count: int) -> None:
        self.held += count
        self.budget.used += count


class Budget:
    """Bytes that all requests of a process may hold together."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self.holds: set[Hold] = set()

    def open(self, evict: Callable[[], None]) -> Hold:
        """Return a hold of no bytes, which `Hold.close` ends."""
        hold = Hold(self, evict)
        self.holds.add(hold)
        return hold

    def make_room(self, count: int, whose: Hold) -> bool:
        """Evict the requests that have stalled the longest until so many bytes are free.

        Returns:
            Whether they are free. Nobody is evicted where that would not be enough.
        """
        latest = time.monotonic() - MIN_STALL_SECONDS
        missing = self.used + count - self.total
        if missing <= 0:
            return True
        stalled = [each for each in self.holds if each is not whose and each.waits and each.progress < latest]
        # To end those that hold less than a step would free nothing.
        stalled = sorted((each for each in stalled if each.held >= STEP), key=lambda each: each.progress)
        if sum(each.held for each in stalled) < missing:
            return False
        for each in stalled:
            if self.used + count <= self.total:
                break
            each.close()
            each.evict()
        return True
