"""Admission control: how many images a server processes and queues, and how many bytes it holds for clients.

A request takes a queue slot when its body is complete, and a core as soon as one is free. It releases both when its
response starts. The response counts against the byte budget until the client has received it. So slow clients occupy
neither slots nor cores, and memory stays bounded.

AWS Lambda sends a function one request at a time and needs none of this.
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
"""Images to queue per concurrent image, unless ``LUNG_WAITING`` is set. Their clients wait less than a second. Their
bytes take less memory than the decoded images."""

MAX_RETRY_AFTER = 120
"""Upper limit of Retry-After, in seconds."""

MAX_REJECTED_SECONDS = 20
"""Part of MAX_RETRY_AFTER that images rejected earlier may take up, in seconds."""

ABORT_EXTENSION = "lung.abort"
"""ASGI extension of lungseg.server.protocol that aborts the connection."""


def read_capacity() -> tuple[int, int]:
    """Return how many images this process handles at the same time, and how many more it queues.

    ``LUNG_CONCURRENT`` and ``LUNG_WAITING`` set them. Defaults: one per available core, and DEFAULT_WAITING_PER_CORE
    times as many.

    Raises:
        ModelError: a variable is not a whole number, or LUNG_CONCURRENT is 0.
    """
    concurrent = settings.CONCURRENT.read(core_count())
    return concurrent, settings.WAITING.read(DEFAULT_WAITING_PER_CORE * concurrent)


class _QueueFull(Exception):
    """No queue slot or no memory is left for a request whose body is being read."""


@dataclass
class _AdmittedRequest:
    """State of one request.

    Attributes:
        reservation: its bytes.
        has_place: whether it has a queue slot.
        started_at: when it got a core; None without one.
        is_evicted: whether it must end to make room for others.
    """

    reservation: Reservation
    has_place: bool = False
    started_at: float | None = None
    is_evicted: bool = False


class Admission:
    """Queues images and answers those beyond the queue with 503 `overloaded` and Retry-After; other routes are open."""

    def __init__(self, app: ASGIApp, concurrent: int, waiting: int) -> None:
        """Guard ``app``: process ``concurrent`` images at a time, and queue ``waiting`` more."""
        self.app = app
        self._concurrent, self._max_admitted = concurrent, concurrent + waiting
        self._cores = asyncio.Semaphore(concurrent)
        self._admitted = 0
        self._rejected_until: deque[float] = deque(maxlen=10_000)  # when each rejected client is expected to retry
        self._seconds_per_image = 0.2  # initial guess, then a moving average
        self._start_times: set[float] = set()  # of the images that have a core
        # One body or response of any size per core, but at least two, so that one request cannot block all others.
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
            # The response is complete now. However slowly the client reads it, the next image can start.
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
        """Count a piece of a body; after the last piece, wait for a core.

        Raises:
            _QueueFull.
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
        """Wait for a core; return False if the client disconnects first."""
        left = asyncio.ensure_future(_wait_for_disconnect(receive))
        for _ in range(4):  # loop iterations until a disconnect right after the body is noticed
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
        """Release the core and the queue slot, whichever the request has."""
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
        # An image that takes unusually long is not in the average yet.
        longest = max((now - began for began in self._start_times), default=0.0)
        inside = max(self._seconds_per_image, longest) * self._admitted / self._concurrent
        # Clients rejected earlier come first, but many may never retry.
        outside = min(MAX_REJECTED_SECONDS, self._seconds_per_image * len(self._rejected_until) / self._concurrent)
        seconds = min(MAX_RETRY_AFTER, max(1, math.ceil(inside + outside)))
        self._rejected_until.append(now + seconds)
        return seconds

    async def _reject(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = errors.Overloaded(f"{self._max_admitted} images are being processed or queued already.")
        await intake.send_problem(error, scope, receive, send, {"Retry-After": str(self._estimate_wait())})

    async def _end_evicted(self, scope: Scope, receive: Receive, send: Send, started: bool) -> None:
        """End an evicted request: with a 503 if its response has not started, else by aborting the connection."""
        abort = scope.get("extensions", {}).get(ABORT_EXTENSION)
        if not started:
            await self._reject(scope, receive, send)
        elif abort is not None:
            abort()
            await asyncio.sleep(0)  # let the server notice the abort; it would log an incomplete response


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_in_steps(message: Message, send: Send, reservation: Reservation) -> None:
    """Send a response body in pieces of 64 KB: uvicorn would buffer a single message as a whole for a slow client."""
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
