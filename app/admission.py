"""How many films a server takes in at a time: what is too much is turned away before its bytes are read.

Memory is bounded by it: no more bodies are held than there are places, and no more films decoded than are worked on.
None of this is there on AWS Lambda, which gives a function one request at a time.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import deque
from contextlib import ExitStack

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors, limits, network, problems

PATH = "/v1/segment"

WAITING_EACH = 4
"""Films that wait for each one that is worked on, unless ``LUNG_WAITING`` says otherwise: their senders wait for less
than a second, and their bytes take less memory than the decoded films."""

DRAIN_SECONDS = 5.0
"""For how long the bytes of a film that was turned away are thrown away: a connection that is closed before its sender
has sent them all may lose the answer."""

LONGEST_WAIT = 30
"""Seconds that Retry-After asks for at most: clients give up where it is more."""


def on_lambda() -> bool:
    """Whether this process is an AWS Lambda function."""
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ


def places() -> tuple[int, int]:
    """How many films this process works on at a time, and how many more may wait.

    ``LUNG_CONCURRENT`` and ``LUNG_WAITING`` say so; else one for each core that the process may use, and WAITING_EACH
    times as many.

    Raises:
        ModelError: they are not whole numbers, or nothing may be worked on.
    """
    concurrent = _setting("LUNG_CONCURRENT", network.cores(), 1)
    return concurrent, _setting("LUNG_WAITING", WAITING_EACH * concurrent, 0)


def _setting(name: str, default: int, least: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal() or int(value) < least:
        raise errors.ModelError(f"{name} must be a whole number of at least {least}.")
    return int(value)


class Admission:
    """Lets so many films in and answers the others with 503 `overloaded` and Retry-After; other routes are always open.

    A film that waits may send its bytes meanwhile; what is held back is their end, so that a slow sender takes up a
    place to wait but never a core.
    """

    def __init__(self, app: ASGIApp, concurrent: int, waiting: int) -> None:
        """Guard ``app``: ``concurrent`` films are worked on, ``waiting`` more are let in."""
        self.app = app
        self._concurrent, self._places = concurrent, concurrent + waiting
        self._work = asyncio.Semaphore(concurrent)
        self._inside = 0
        self._outside: deque[float] = deque(maxlen=10_000)  # when each that was turned away will come again
        self._seconds = 0.2  # of a film's work: a guess, until some have been seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].endswith(PATH):
            await self.app(scope, receive, send)
        elif self._inside >= self._places:
            await self._turn_away(scope, receive, send)
        else:
            self._inside += 1
            try:
                await self._admit(scope, receive, send)
            finally:
                self._inside -= 1

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        began: list[float] = []

        async def when_free() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and not began:
                await self._work.acquire()
                began.append(time.monotonic())
                turn.callback(self._end, began[0])
            return message

        async def watch(message: Message) -> None:
            # The answer is made by now: however slowly it is fetched, the next film's work may begin.
            turn.close()
            await send(message)

        with ExitStack() as turn:
            await self.app(scope, when_free, watch)

    def _wait(self) -> int:
        """Seconds until the turn would come of one more that stands behind all that are inside, or were turned away."""
        now = time.monotonic()
        while self._outside and self._outside[0] <= now:
            self._outside.popleft()
        ahead = self._inside + len(self._outside)
        seconds = min(LONGEST_WAIT, max(1, math.ceil(self._seconds * ahead / self._concurrent)))
        self._outside.append(now + seconds)
        return seconds

    def _end(self, began: float) -> None:
        self._seconds += 0.1 * (time.monotonic() - began - self._seconds)
        self._work.release()

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = errors.Overloaded(f"{self._places} films are being worked on or wait already.")
        headers = {"Retry-After": str(self._wait())}
        # Who asks before he sends is never told to go on: his connection ends here.
        asks = Headers(scope=scope).get("expect", "").lower() == "100-continue"
        answer = problems.answer(refusal.problem(), headers | ({"Connection": "close"} if asks else {}))
        await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        if not asks:
            await _throw_away(receive)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _throw_away(receive: Receive) -> None:
    """Take in the rest of a request and keep none of it; no more than a film may have, and not for long."""
    count = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while count <= limits.MAX_BYTES:
                message = await receive()
                count += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
