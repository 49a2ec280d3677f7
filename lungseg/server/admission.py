"""How many images a server works on, how many wait, and how many bytes it holds for clients.

A request takes a place once its whole body is there, and a core once one is free. When its answer begins to leave, both
are free again, and the answer counts against the budget of bytes until the client has taken it. So slow clients hold
neither places nor cores, and memory stays bounded whoever is slow.

AWS Lambda gives a function one request at a time and needs none of this.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungseg import errors, limits, settings
from lungseg.model.session import core_count
from lungseg.server import intake
from lungseg.server.budget import ByteBudget, Reservation
from lungseg.server.intake import PROGRESS_BYTES

DEFAULT_WAITING_PER_CORE = 4
"""Images that wait for each one that is worked on, unless ``LUNG_WAITING`` says otherwise: their clients wait for less
than a second, and their bytes take less memory than the decoded images."""

MAX_RETRY_AFTER = 120
"""Seconds that Retry-After asks for at most."""

MAX_REJECTED_SECONDS = 20
"""Seconds of them for the images that were turned away before."""

ABORT_EXTENSION = "lung.abort"
"""The ASGI extension by which the server of `serve` (lungseg.server.protocol) lets a connection be cut off."""


def read_capacity() -> tuple[int, int]:
    """Return how many images this process works on at a time, and how many more may wait.

    ``LUNG_CONCURRENT`` and ``LUNG_WAITING`` say so; else one for each core that the process may use, and WAITING_EACH
    times as many.

    Raises:
        ModelError: they are not whole numbers, or nothing may be worked on.
    """
    concurrent = settings.CONCURRENT.read(core_count())
    return concurrent, settings.WAITING.read(DEFAULT_WAITING_PER_CORE * concurrent)


class _QueueFull(Exception):
    """There is no place, or no memory, for a request whose body was being read."""


@dataclass
class _AdmittedRequest:
    """Where one request is: its bytes, and since when it has a place and a core."""

    reservation: Reservation
    has_place: bool = False
    started_at: float | None = None
    is_evicted: bool = False


class Admission:
    """Queues images and answers those beyond the queue with 503 `overloaded` and Retry-After; other routes are open."""

    def __init__(self, app: ASGIApp, concurrent: int, waiting: int) -> None:
        """Guard ``app``: ``concurrent`` images are worked on, ``waiting`` more are queued."""
        self.app = app
        self._concurrent, self._max_admitted = concurrent, concurrent + waiting
        self._cores = asyncio.Semaphore(concurrent)
        self._admitted = 0
        self._rejected_until: deque[float] = deque(maxlen=10_000)  # when each that was turned away will come again
        self._seconds_per_image = 0.2  # of an image's work: a guess, until some have been seen
        self._start_times: set[float] = set()  # when each began
        # One body and one answer of any size for each core; two of them at least, so that one never locks out another.
        self._budget = ByteBudget(limits.MAX_BYTES * max(2, concurrent))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app as soon as this request is admitted."""
        if not intake.is_segment_request(scope):
            await self.app(scope, receive, send)
        elif self._admitted >= self._max_admitted:
            await self._reject(scope, receive, send)
        else:
            await self._admit(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None

        def evict() -> None:
            request.is_evicted = True
            task.cancel()

        request = _AdmittedRequest(self._budget.reserve(evict))
        started = False

        async def receive_and_admit() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not request.has_place:
                await self._count_body(message, request, receive)
                if not message.get("more_body") and request.started_at is None:
                    return {"type": "http.disconnect"}
            return message

        async def send_and_release(message: Message) -> None:
            nonlocal started
            # The answer is made by now: however slowly the client takes it, the next image's work may begin.
            if not started:
                started = True
                self._release(request)
            await _send_in_steps(message, send, request.reservation)

        try:
            await self.app(scope, receive_and_admit, send_and_release)
        except _QueueFull:
            await self._reject(scope, receive, send)
        except asyncio.CancelledError:
            if not request.is_evicted:
                raise
            task.uncancel()
            await self._end_evicted(scope, receive, send, started)
        finally:
            self._release(request)
            request.reservation.close()

    async def _count_body(self, message: Message, request: _AdmittedRequest, receive: Receive) -> None:
        """Account for a piece of a body; with the last one, wait for a core.

        Raises:
            _Full.
        """
        count = len(message.get("body", b""))
        if not request.reservation.try_grow(count):
            raise _QueueFull
        request.reservation.add_progress(count)
        if message.get("more_body"):
            return
        if self._admitted >= self._max_admitted:
            raise _QueueFull
        self._admitted += 1
        request.has_place, request.reservation.is_waiting = True, False
        if await self._wait_for_core(receive):
            request.started_at = time.monotonic()
            self._start_times.add(request.started_at)

    async def _wait_for_core(self, receive: Receive) -> bool:
        """Wait for a core; return False, having none, if the client leaves before there is one."""
        left = asyncio.ensure_future(_wait_for_disconnect(receive))
        for _ in range(4):  # turns of the loop, after which the end of a connection that closed behind its body is seen
            await asyncio.sleep(0)
        core = asyncio.ensure_future(self._cores.acquire())
        has_core = False
        try:
            await asyncio.wait((core, left), return_when=asyncio.FIRST_COMPLETED)
            has_core = not left.done()
        finally:
            left.cancel()
            if not has_core and not core.cancel():
                self._cores.release()
        return has_core

    def _release(self, request: _AdmittedRequest) -> None:
        """Give back core and place, whichever the request has."""
        if request.started_at is not None:
            self._seconds_per_image += 0.1 * (time.monotonic() - request.started_at - self._seconds_per_image)
            self._start_times.discard(request.started_at)
            request.started_at = None
            self._cores.release()
        if request.has_place:
            request.has_place = False
            self._admitted -= 1

    def _estimate_wait(self) -> int:
        """Return the seconds until one more image could start, behind all that are admitted or were rejected."""
        now = time.monotonic()
        while self._rejected_until and self._rejected_until[0] <= now:
            self._rejected_until.popleft()
        # Work that takes longer than usual shows only by what it has taken so far.
        longest = max((now - began for began in self._start_times), default=0.0)
        inside = max(self._seconds_per_image, longest) * self._admitted / self._concurrent
        # Those that were turned away before come first; but many of them may never come.
        outside = min(MAX_REJECTED_SECONDS, self._seconds_per_image * len(self._rejected_until) / self._concurrent)
        seconds = min(MAX_RETRY_AFTER, max(1, math.ceil(inside + outside)))
        self._rejected_until.append(now + seconds)
        return seconds

    async def _reject(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = errors.Overloaded(f"{self._max_admitted} images are being worked on or wait already.")
        await intake.send_problem(error, scope, receive, send, {"Retry-After": str(self._estimate_wait())})

    async def _end_evicted(self, scope: Scope, receive: Receive, send: Send, started: bool) -> None:
        """End a request that was evicted: with an answer, where none has begun."""
        abort = scope.get("extensions", {}).get(ABORT_EXTENSION)
        if not started:
            await self._reject(scope, receive, send)
        elif abort is not None:
            abort()
            await asyncio.sleep(0)  # until the server knows, which would complain of half an answer


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_in_steps(message: Message, send: Send, reservation: Reservation) -> None:
    """Send an answer's body by 64 KB: a server buffers a single message whole, however slowly the client reads."""
    body = message.get("body", b"")
    if message["type"] != "http.response.body" or len(body) <= PROGRESS_BYTES:
        await send(message)
        return
    reservation.start_response(len(body))
    for start in range(0, len(body), PROGRESS_BYTES):
        piece = body[start : start + PROGRESS_BYTES]
        more = start + PROGRESS_BYTES < len(body) or message.get("more_body", False)
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        reservation.add_progress(len(piece))
