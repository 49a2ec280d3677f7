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
from lungseg.server.budget import Budget, Hold
from lungseg.server.intake import STEP

WAITING_EACH = 4
"""Images that wait for each one that is worked on, unless ``LUNG_WAITING`` says otherwise: their clients wait for less
than a second, and their bytes take less memory than the decoded images."""

MAX_RETRY_AFTER = 120
"""Seconds that Retry-After asks for at most."""

MAX_OUTSIDE_SECONDS = 20
"""Seconds of them for the images that were turned away before."""

ABORT = "lung.abort"
"""The ASGI extension by which the server of `serve` (lungseg.server.protocol) lets a connection be cut off."""


def places() -> tuple[int, int]:
    """Return how many images this process works on at a time, and how many more may wait.

    ``LUNG_CONCURRENT`` and ``LUNG_WAITING`` say so; else one for each core that the process may use, and WAITING_EACH
    times as many.

    Raises:
        ModelError: they are not whole numbers, or nothing may be worked on.
    """
    concurrent = settings.CONCURRENT.read(core_count())
    return concurrent, settings.WAITING.read(WAITING_EACH * concurrent)


class _Full(Exception):
    """There is no place, or no memory, for a request whose body was being read."""


@dataclass
class _Turn:
    """Where one request is: its bytes, and since when it has a place and a core."""

    hold: Hold
    has_place: bool = False
    began: float | None = None
    is_evicted: bool = False


class Admission:
    """Queues images and answers those beyond the queue with 503 `overloaded` and Retry-After; other routes are open."""

    def __init__(self, app: ASGIApp, concurrent: int, waiting: int) -> None:
        """Guard ``app``: ``concurrent`` images are worked on, ``waiting`` more are queued."""
        self.app = app
        self._concurrent, self._places = concurrent, concurrent + waiting
        self._cores = asyncio.Semaphore(concurrent)
        self._inside = 0
        self._outside: deque[float] = deque(maxlen=10_000)  # when each that was turned away will come again
        self._seconds = 0.2  # of an image's work: a guess, until some have been seen
        self._working: set[float] = set()  # when each began
        # One body and one answer of any size for each core; two of them at least, so that one never locks out another.
        self._budget = Budget(limits.MAX_BYTES * max(2, concurrent))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app as soon as it is this request's turn."""
        if not intake.takes_image(scope):
            await self.app(scope, receive, send)
        elif self._inside >= self._places:
            await self._turn_away(scope, receive, send)
        else:
            await self._admit(scope, receive, send)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None

        def evict() -> None:
            turn.is_evicted = True
            task.cancel()

        turn = _Turn(self._budget.open(evict))
        started = False

        async def in_turn() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not turn.has_place:
                await self._take_in(message, turn, receive)
                if not message.get("more_body") and turn.began is None:
                    return {"type": "http.disconnect"}
            return message

        async def watch(message: Message) -> None:
            nonlocal started
            # The answer is made by now: however slowly the client takes it, the next image's work may begin.
            if not started:
                started = True
                self._release(turn)
            await _send_in_steps(message, send, turn.hold)

        try:
            await self.app(scope, in_turn, watch)
        except _Full:
            await self._turn_away(scope, receive, send)
        except asyncio.CancelledError:
            if not turn.is_evicted:
                raise
            task.uncancel()
            await self._end(scope, receive, send, started)
        finally:
            self._release(turn)
            turn.hold.close()

    async def _take_in(self, message: Message, turn: _Turn, receive: Receive) -> None:
        """Account for a piece of a body; with the last one, wait for a core.

        Raises:
            _Full.
        """
        count = len(message.get("body", b""))
        if not turn.hold.grow(count):
            raise _Full
        turn.hold.move(count)
        if message.get("more_body"):
            return
        if self._inside >= self._places:
            raise _Full
        self._inside += 1
        turn.has_place, turn.hold.waits = True, False
        if await self._get_core(receive):
            turn.began = time.monotonic()
            self._working.add(turn.began)

    async def _get_core(self, receive: Receive) -> bool:
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

    def _release(self, turn: _Turn) -> None:
        """Give back core and place, whichever the request has."""
        if turn.began is not None:
            self._seconds += 0.1 * (time.monotonic() - turn.began - self._seconds)
            self._working.discard(turn.began)
            turn.began = None
            self._cores.release()
        if turn.has_place:
            turn.has_place = False
            self._inside -= 1

    def _wait(self) -> int:
        """Return the seconds until the turn of one more that comes behind all that are inside, or were turned away."""
        now = time.monotonic()
        while self._outside and self._outside[0] <= now:
            self._outside.popleft()
        # Work that takes longer than usual shows only by what it has taken so far.
        longest = max((now - began for began in self._working), default=0.0)
        inside = max(self._seconds, longest) * self._inside / self._concurrent
        # Those that were turned away before come first; but many of them may never come.
        outside = min(MAX_OUTSIDE_SECONDS, self._seconds * len(self._outside) / self._concurrent)
        seconds = min(MAX_RETRY_AFTER, max(1, math.ceil(inside + outside)))
        self._outside.append(now + seconds)
        return seconds

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = errors.Overloaded(f"{self._places} images are being worked on or wait already.")
        await intake.refuse(error, scope, receive, send, {"Retry-After": str(self._wait())})

    async def _end(self, scope: Scope, receive: Receive, send: Send, started: bool) -> None:
        """End a request that was evicted: with an answer, where none has begun."""
        abort = scope.get("extensions", {}).get(ABORT)
        if not started:
            await self._turn_away(scope, receive, send)
        elif abort is not None:
            abort()
            await asyncio.sleep(0)  # until the server knows, which would complain of half an answer


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_in_steps(message: Message, send: Send, hold: Hold) -> None:
    """Send an answer's body by 64 KB: a server buffers a single message whole, however slowly the client reads."""
    body = message.get("body", b"")
    if message["type"] != "http.response.body" or len(body) <= STEP:
        await send(message)
        return
    hold.start_answer(len(body))
    for start in range(0, len(body), STEP):
        piece = body[start : start + STEP]
        more = start + STEP < len(body) or message.get("more_body", False)
        await send({"type": "http.response.body", "body": piece, "more_body": more})
        hold.move(len(piece))
