"""Read each request's body before its route runs, within limits of size and time."""

from __future__ import annotations

import asyncio
import io
import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungseg import errors, limits
from lungseg.server import problems

log = logging.getLogger(__name__)

PROGRESS_BYTES = 2**16
"""Bytes that count as progress, so that a client that trickles single bytes makes none."""

SEGMENT_PATH = "/v1/segment"

MAX_STALL_SECONDS = 30.0
"""Time that a client has for each 64 KB of a body, or for the rest of it."""

MAX_DRAIN_SECONDS = 5.0
"""Time to discard the rest of a rejected body. If the server closed the connection while the client still sends, the
client might lose the response (RFC 9112 section 9.6)."""


def is_segment_request(scope: Scope) -> bool:
    """Return whether a request is a POST to /v1/segment, also with a path prefix added by a proxy."""
    return bool(scope["type"] == "http" and scope["method"] == "POST" and scope["path"].endswith(SEGMENT_PATH))


class Intake:
    """Read the body, and pass it to the app as one message.

    Rejects bodies above MAX_BYTES on /v1/segment and above MAX_JSON_BYTES elsewhere (413), encodings other than gzip
    (415), and clients slower than 64 KB per MAX_STALL_SECONDS (408). A Content-Length above the limit is rejected at
    once: a client that sent `Expect: 100-continue` gets no 100.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, then run the app."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            _check_headers(scope)
            body = await _read_body(receive, _max_body_bytes(scope), is_segment_request(scope))
        except errors.ProblemError as error:
            headers = {"Connection": "close"}
            if isinstance(error, errors.UnsupportedEncoding):
                headers["Accept-Encoding"] = "gzip"  # RFC 9110 section 15.5.16
            await send_problem(error, scope, receive, send, headers)
            return
        if body is None:
            log.info("the client disconnected before its request was complete")
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
        del body  # now the list has the only reference, so that the memory is freed once the route has parsed the body

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay, send)


def content_encoding(headers: Headers) -> str:
    """Return a request's Content-Encoding in lower case; "identity" if it names none."""
    return headers.get("content-encoding", "identity").strip().lower()


def _max_body_bytes(scope: Scope) -> int:
    return limits.MAX_BYTES if is_segment_request(scope) else limits.MAX_JSON_BYTES


def _size_error(image: bool) -> errors.ProblemError:
    if image:
        return errors.TooLarge(f"The image has more than {limits.MAX_BYTES:,} bytes.")
    return errors.BodyTooLarge(f"The body has more than {limits.MAX_JSON_BYTES:,} bytes.")


def _check_headers(scope: Scope) -> None:
    """Check Content-Length and Content-Encoding.

    Raises:
        TooLarge, BodyTooLarge, UnsupportedEncoding.
    """
    headers, image = Headers(scope=scope), is_segment_request(scope)
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > _max_body_bytes(scope):
        raise _size_error(image)
    if content_encoding(headers) not in (("identity", "gzip", "x-gzip") if image else ("identity",)):
        raise errors.UnsupportedEncoding("The body has a Content-Encoding that is not supported.")


async def _read_body(receive: Receive, limit: int, image: bool) -> bytes | None:
    """Return a request's body; None if the client disconnected.

    Raises:
        TooLarge, BodyTooLarge, RequestTimeout.
    """
    body = io.BytesIO()  # getvalue() shares the buffer; joining pieces would hold the body twice
    size, more = 0, True
    try:
        while more:
            step = size + PROGRESS_BYTES
            async with asyncio.timeout(MAX_STALL_SECONDS):
                while more and size < step:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    piece = message.get("body", b"")
                    size, more = size + len(piece), message.get("more_body", False)
                    if size > limit:
                        raise _size_error(image)
                    body.write(piece)
    except TimeoutError:
        raise errors.RequestTimeout(
            f"Less than 64 KB of the body arrived in {MAX_STALL_SECONDS:.0f} seconds."
        ) from None
    return body.getvalue()


async def send_problem(
    error: errors.ProblemError, scope: Scope, receive: Receive, send: Send, headers: dict[str, str] | None = None
) -> None:
    """Send a problem document, then discard what the client still sends.

    A client that sent `Expect: 100-continue` gets no 100, so its connection is closed at once.
    """
    asks = Headers(scope=scope).get("expect", "").lower() == "100-continue"
    answer = problems.problem_response(error.problem(), (headers or {}) | ({"Connection": "close"} if asks else {}))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": True})
    if not asks:
        await _drain_body(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain_body(receive: Receive) -> None:
    """Discard the rest of a request: at most MAX_BYTES, for at most MAX_DRAIN_SECONDS."""
    count = 0
    try:
        async with asyncio.timeout(MAX_DRAIN_SECONDS):
            while count <= limits.MAX_BYTES:
                message = await receive()
                count += len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return
