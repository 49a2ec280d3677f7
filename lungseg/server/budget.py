"""A byte budget for what slow clients make a server hold: request bodies and responses in transit."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lungseg.server.intake import PROGRESS_BYTES

MIN_STALL_SECONDS = 1.0
"""A request that made progress within this time is not evicted."""


@dataclass(eq=False)
class Reservation:
    """The bytes of one request.

    Attributes:
        evict: ends the request; called at most once.
        is_waiting: whether the server waits for the client, so that the request may be evicted.
    """

    budget: ByteBudget
    evict: Callable[[], None]
    is_waiting: bool = True
    held_bytes: int = 0
    last_progress: float = field(default_factory=time.monotonic)
    _moved_bytes: int = 0

    def add_progress(self, count: int) -> None:
        """Note that ``count`` bytes came from or went to the client."""
        self._moved_bytes += count
        if self._moved_bytes >= PROGRESS_BYTES:
            self._moved_bytes, self.last_progress = 0, time.monotonic()

    def try_grow(self, count: int) -> bool:
        """Reserve ``count`` more bytes, evicting stalled requests if needed; return whether that succeeded."""
        if not self.budget.free_bytes(count, self):
            return False
        self._add(count)
        return True

    def start_response(self, count: int) -> None:
        """Reserve a response instead of the body. It exists already, so it counts even if it exceeds the budget."""
        self._add(-self.held_bytes)
        self.budget.free_bytes(count, self)
        self._add(count)
        self.is_waiting, self._moved_bytes, self.last_progress = True, 0, time.monotonic()

    def close(self) -> None:
        """Release all bytes."""
        self._add(-self.held_bytes)
        self.budget.reservations.discard(self)

    def _add(self, count: int) -> None:
        self.held_bytes += count
        self.budget.used += count


class ByteBudget:
    """Bytes that all requests of a process may hold in total."""

    def __init__(self, total: int) -> None:
        self.total, self.used = total, 0
        self.reservations: set[Reservation] = set()

    def reserve(self, evict: Callable[[], None]) -> Reservation:
        """Return an empty reservation; `Reservation.close` ends it."""
        reservation = Reservation(self, evict)
        self.reservations.add(reservation)
        return reservation

    def free_bytes(self, count: int, requester: Reservation) -> bool:
        """Evict the requests that have stalled longest until ``count`` bytes are free.

        Returns:
            Whether they are free. If eviction would not free enough, no request is evicted.
        """
        latest = time.monotonic() - MIN_STALL_SECONDS
        missing = self.used + count - self.total
        if missing <= 0:
            return True
        stalled = [
            each
            for each in self.reservations
            if each is not requester and each.is_waiting and each.last_progress < latest
        ]
        # Evicting requests that hold little would not free anything worthwhile.
        stalled = sorted(
            (each for each in stalled if each.held_bytes >= PROGRESS_BYTES), key=lambda each: each.last_progress
        )
        if sum(each.held_bytes for each in stalled) < missing:
            return False
        for each in stalled:
            if self.used + count <= self.total:
                break
            each.close()
            each.evict()
        return True
