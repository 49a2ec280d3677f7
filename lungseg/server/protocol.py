"""uvicorn's HTTP protocol with the limits that it lacks: on time, on framing, and on connections.

uvicorn 0.54 has none of them (its issue 157); `serve` names this class, which uvicorn's setting ``http`` is for.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lungseg import errors
from lungseg.server import problems
from lungseg.server.admission import ABORT_EXTENSION

MAX_HEADER_SECONDS = 10.0
"""The longest that a connection may go without a request's headers being complete."""

KEEP_ALIVE_SECONDS = 75
"""How long a connection may stay open between two requests. Clients and proxies must close theirs first (httpx after 5 s,
nginx and AWS's load balancers after 60 s): a request that crosses the server's close on its way is lost."""

MAX_WRITE_SECONDS = 30.0
"""The longest that a client may take for the next 48 KB of an answer (asyncio's buffer, from full to a quarter)."""

MAX_CLOSE_SECONDS = 5.0
"""The longest that a connection which is being closed may keep what its client does not take."""

MAX_FRAMING_BYTES = 2**16
"""Bytes of a request besides its body, more than the body has: headers, chunks' sizes, trailers."""

ACCEPT_BACKLOG = 64
"""Connections that are accepted in one turn of asyncio's loop; they are ours some turns later."""

MAX_PENDING = 4 * ACCEPT_BACKLOG
"""Descriptors of connections that are accepted, but not yet ours to count."""

MAX_CONNECTIONS = 2048
"""Connections of a process, where it may have as many descriptors."""

RESERVED_DESCRIPTORS = 64
"""Descriptors for everything else: the listener, the event loop, libraries that are loaded."""

BAD_REQUEST_PROBLEM = errors.problem_document(
    400, "bad-request", "The request is not valid HTTP", "The request cannot be parsed.", "Use an HTTP/1.1 client."
)
NO_MEMORY_PROBLEM = errors.Shortage("There was no memory to read the request.").problem()
FRAMING_PROBLEM = errors.problem_document(
    431,
    "headers-too-large",
    "The request's headers or chunks are too large",
    f"The request has more than {MAX_FRAMING_BYTES:,} bytes of headers, chunk sizes and trailers.",
    "Send fewer headers, and bodies with Content-Length or in chunks of at least 1 KB.",
)


def raise_descriptor_limit() -> None:
    """Let this process and its children have as many descriptors as MAX_CONNECTIONS needs, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + MAX_PENDING + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def max_connections() -> int:
    """Return how many connections this process keeps at a time: always fewer than it has descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(8, min(MAX_CONNECTIONS, soft - min(MAX_PENDING, soft // 2) - RESERVED_DESCRIPTORS))


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    # Class defaults: on_message_begin may come before anything else is set.
    _framing = 0
    _headers = 0
    _requests = 0
    _drains = 0
    _is_between_requests = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where there are too many connections, one that has no request ends instead."""
        super().connection_made(transport)
        self._state: tuple[object, ...] = ()
        self._since = self.loop.time()
        self._make_room()
        self._look()

    def _make_room(self) -> None:
        if len(self.connections) > max_connections():
            # Those that were ended are in the set until the event loop's next turn.
            others = [
                each for each in cast("set[LimitedProtocol]", self.connections) if not each.transport.is_closing()
            ]
            if len(others) > max_connections():
                idle = [each for each in others if not each._is_busy()]
                min(idle, key=lambda each: each._since, default=self).transport.abort()

    def _is_busy(self) -> bool:
        """Whether a request is being read, worked on or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _look(self) -> None:
        """Once a second: end the connection where its client has let it stand for too long."""
        if self not in self.connections:  # it is lost
            return
        if self.transport.is_closing():
            name, seconds = "closing", MAX_CLOSE_SECONDS
        elif self.flow.write_paused:
            name, seconds = "writing", MAX_WRITE_SECONDS
        elif self._is_busy():
            name, seconds = "busy", float("inf")
        elif self._is_between_requests:
            name, seconds = "kept alive", KEEP_ALIVE_SECONDS
        else:
            name, seconds = "idle", MAX_HEADER_SECONDS
        state = (name, self._requests, self._drains)
        if state != self._state:
            self._state, self._since = state, self.loop.time()
        elif self.loop.time() - self._since >= seconds:
            self.transport.abort()
        self.loop.call_later(1.0, self._look)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a request whose headers, chunk sizes and trailers outweigh its body."""
        self._framing += len(data)
        self._is_between_requests = False
        super().data_received(data)
        if self._framing > MAX_FRAMING_BYTES and not self.transport.is_closing():
            self._refuse(FRAMING_PROBLEM)

    def on_message_begin(self) -> None:
        """Count anew, and offer the app a way to cut the connection off."""
        self._framing = self._headers = 0
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT_EXTENSION: self.transport.abort}
        self.scope["extensions"] = extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        """Refuse headers, or trailers, that are too many; raised here, it ends the parsing.

        Raises:
            ValueError.
        """
        self._headers += len(name) + len(value)
        if self._headers > MAX_FRAMING_BYTES:
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that there is a request."""
        self._requests += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Weigh the body against its framing."""
        self._framing -= 2 * len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next request, until its first byte for longer than for the rest of its headers."""
        self._is_between_requests = True
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Note that the client took some of its answer."""
        self._drains += 1
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem document."""
        error = sys.exc_info()[1]  # uvicorn calls this while it handles the parser's error
        if error is not None and isinstance(error.__context__, MemoryError):
            self._refuse(NO_MEMORY_PROBLEM)
        else:
            self._refuse(FRAMING_PROBLEM if self._headers > MAX_FRAMING_BYTES else BAD_REQUEST_PROBLEM)

    def _refuse(self, document: dict[str, Any]) -> None:
        if self._is_busy() and self.cycle.response_started:
            self.transport.abort()  # the answer that has begun cannot be taken back
            return
        headers = {"Connection": "close"}
        if document["status"] == 503:
            headers["Retry-After"] = problems.SHORTAGE_RETRY_SECONDS
        answer = problems.problem_response(document, headers)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a request that asks for an upgrade is answered without one."""
