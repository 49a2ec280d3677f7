"""uvicorn's HTTP protocol with limits on time, framing and connections.

uvicorn 0.54 has none of them (its issue 157). `serve` passes this class as uvicorn's setting ``http``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lungseg import errors
from lungseg.server import problems
from lungseg.server.admission import ABORT_EXTENSION

if sys.platform != "win32":
    import resource

MAX_HEADER_SECONDS = 10.0
"""Time that a new connection has until the headers of its request are complete."""

KEEP_ALIVE_SECONDS = 75
"""Time that a connection stays open between two requests. Clients and proxies must close it first (httpx after 5 s,
nginx and AWS's load balancers after 60 s): a request that is on its way when the server closes is lost."""

MAX_WRITE_SECONDS = 30.0
"""Time that a client has to take the next 48 KB of a response (asyncio's buffer, from full to a quarter)."""

MAX_CLOSE_SECONDS = 5.0
"""Time that a closing connection has to deliver what is still buffered."""

MAX_FRAMING_BYTES = 2**16
"""Bytes of headers, chunk sizes and trailers, less the bytes of the body."""

ACCEPT_BACKLOG = 64
"""Connections that asyncio accepts per loop iteration; they reach this class some iterations later."""

MAX_PENDING = 4 * ACCEPT_BACKLOG
"""Descriptors of accepted connections that this class cannot count yet."""

MAX_CONNECTIONS = 2048
"""Connections per process, if the descriptor limit allows it."""

RESERVED_DESCRIPTORS = 64
"""Descriptors for everything else: the listener, the event loop, loaded libraries."""

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
    """Raise the descriptor limit of this process and its children to what MAX_CONNECTIONS needs, if permitted."""
    if sys.platform == "win32":  # which has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + MAX_PENDING + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))


def max_connections() -> int:
    """Return how many connections this process keeps open: always fewer than its descriptor limit."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return max(8, min(MAX_CONNECTIONS, soft - min(MAX_PENDING, soft // 2) - RESERVED_DESCRIPTORS))


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    # Class defaults: on_message_begin may be called before an instance attribute is set.
    _framing_bytes = 0
    _header_bytes = 0
    _requests = 0
    _resumed_writes = 0
    _is_between_requests = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start; if there are too many connections, abort the one that has been idle longest."""
        super().connection_made(transport)
        self._state: tuple[object, ...] = ()
        self._state_since = self.loop.time()
        self._drop_excess_connection()
        self._check_timeouts()

    def _drop_excess_connection(self) -> None:
        if len(self.connections) > max_connections():
            # Aborted connections stay in the set until the next loop iteration.
            others = [
                each for each in cast("set[LimitedProtocol]", self.connections) if not each.transport.is_closing()
            ]
            if len(others) > max_connections():
                idle = [each for each in others if not each._is_busy()]
                min(idle, key=lambda each: each._state_since, default=self).transport.abort()

    def _is_busy(self) -> bool:
        """Return whether a request is being read, processed or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _check_timeouts(self) -> None:
        """Abort the connection if its client has been idle for too long; called once a second."""
        if self not in self.connections:  # it was closed
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
        state = (name, self._requests, self._resumed_writes)
        if state != self._state:
            self._state, self._state_since = state, self.loop.time()
        elif self.loop.time() - self._state_since >= seconds:
            self.transport.abort()
        self.loop.call_later(1.0, self._check_timeouts)

    def data_received(self, data: bytes) -> None:
        """Parse; reject a request whose headers, chunk sizes and trailers outweigh its body."""
        self._framing_bytes += len(data)
        self._is_between_requests = False
        super().data_received(data)
        if self._framing_bytes > MAX_FRAMING_BYTES and not self.transport.is_closing():
            self._send_problem(FRAMING_PROBLEM)

    def on_message_begin(self) -> None:
        """Reset the counts, and give the app a way to abort the connection."""
        self._framing_bytes = self._header_bytes = 0
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT_EXTENSION: self.transport.abort}
        self.scope["extensions"] = extensions

    def on_header(self, name: bytes, value: bytes) -> None:
        """Reject too many headers or trailers; the exception stops the parser.

        Raises:
            ValueError.
        """
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_FRAMING_BYTES:
            raise ValueError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Count the request."""
        self._requests += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Deduct the body from the framing bytes."""
        self._framing_bytes -= 2 * len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next request, until its first byte for longer than for the rest of its headers."""
        self._is_between_requests = True
        super().on_response_complete()

    def resume_writing(self) -> None:
        """Note that the client received a part of the response."""
        self._resumed_writes += 1
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer an invalid request with a problem document."""
        error = sys.exc_info()[1]  # uvicorn calls this in its handler of the parser's exception
        if error is not None and isinstance(error.__context__, MemoryError):
            self._send_problem(NO_MEMORY_PROBLEM)
        else:
            self._send_problem(FRAMING_PROBLEM if self._header_bytes > MAX_FRAMING_BYTES else BAD_REQUEST_PROBLEM)

    def _send_problem(self, document: dict[str, Any]) -> None:
        if self._is_busy() and self.cycle.response_started:
            self.transport.abort()  # a response that has started cannot be replaced
            return
        headers = {"Connection": "close"}
        if document["status"] == 503:
            headers["Retry-After"] = problems.SHORTAGE_RETRY_SECONDS
        answer = problems.problem_response(document, headers)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in answer.raw_headers)
        self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: a request for an upgrade gets a normal response."""
