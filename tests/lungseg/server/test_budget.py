"""The byte budget evicts the requests that stalled longest, and only if that frees enough."""

from __future__ import annotations

import pytest

from lungseg.server import budget
from lungseg.server.budget import MIN_STALL_SECONDS, ByteBudget, Reservation
from lungseg.server.intake import PROGRESS_BYTES

LARGE = 4 * PROGRESS_BYTES


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def monotonic(self) -> float:
        """Return the test's time, in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(budget, "time", clock)
    return clock


class Requests:
    """Requests that share a budget of twice LARGE."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.budget = clock, ByteBudget(2 * LARGE)
        self.evicted: list[str] = []

    def hold(self, name: str, count: int) -> Reservation:
        """Begin a request that holds ``count`` bytes; a second passes."""
        reservation = self.budget.reserve(lambda: self.evicted.append(name))
        reservation.last_progress = self.clock.now
        assert reservation.try_grow(count)
        self.clock.now += 1
        return reservation


@pytest.fixture
def requests(clock: Clock) -> Requests:
    return Requests(clock)


def test_budget_grants_what_is_free(requests: Requests) -> None:
    first = requests.hold("first", LARGE)
    assert requests.budget.used == LARGE
    first.close()
    assert requests.budget.used == 0
    assert requests.evicted == []


def test_budget_evicts_the_request_that_stalled_longest(requests: Requests, clock: Clock) -> None:
    requests.hold("first", LARGE)
    requests.hold("second", LARGE)
    clock.now += MIN_STALL_SECONDS
    requests.hold("third", LARGE)
    assert requests.evicted == ["first"]
    assert requests.budget.used == 2 * LARGE


def test_budget_keeps_requests_that_progress(requests: Requests, clock: Clock) -> None:
    first = requests.hold("first", LARGE)
    requests.hold("second", LARGE)
    clock.now += MIN_STALL_SECONDS
    first.add_progress(PROGRESS_BYTES)
    requests.hold("third", LARGE)
    assert requests.evicted == ["second"]


def test_budget_keeps_requests_that_the_server_works_on(requests: Requests, clock: Clock) -> None:
    first = requests.hold("first", 2 * LARGE)
    first.is_waiting = False
    clock.now += MIN_STALL_SECONDS
    assert not requests.budget.reserve(lambda: None).try_grow(1)
    assert requests.evicted == []


def test_budget_evicts_nobody_if_that_would_not_free_enough(requests: Requests, clock: Clock) -> None:
    requests.hold("small", PROGRESS_BYTES - 1)
    requests.hold("first", LARGE).is_waiting = False
    requests.hold("second", LARGE - PROGRESS_BYTES)
    clock.now += MIN_STALL_SECONDS
    assert not requests.budget.reserve(lambda: None).try_grow(LARGE)
    assert requests.evicted == []


def test_response_counts_even_beyond_the_budget(requests: Requests) -> None:
    first = requests.hold("first", LARGE)
    first.is_waiting = False
    first.start_response(3 * LARGE)
    assert requests.budget.used == 3 * LARGE
    assert first.is_waiting
    first.close()
    assert requests.budget.used == 0
