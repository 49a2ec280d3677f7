"""S3 on a bad day: moto in this process, behind a connection on which every request can fail in every way.

Moto implements S3's rules: versions, conditional writes, listings. The connection is a botocore hook, below its retries
and above its parsers, so that the function sees each failure as boto3 reports it.
"""

from __future__ import annotations

import io
import random
import threading
from collections import Counter
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.exceptions as failures
import urllib3.exceptions
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.models import botocore_stubber
from turns import Turns

REFUSED = {
    "403": (403, "AccessDenied"),
    "404": (404, "NoSuchKey"),
    "409": (409, "ConditionalRequestConflict"),
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "archived": (403, "InvalidObjectState"),
}
"""Error responses, for which the request is not executed: status and S3's code."""

KILLED_BEFORE, KILLED_AFTER = "killed before", "killed after"

ALWAYS = ("403", "500", "503", "timeout", "no connection", "answer lost", KILLED_BEFORE, KILLED_AFTER)
"""Failures that any request can have."""

Step = tuple[str, str]
"""An S3 operation and its bucket."""


class Killed(BaseException):
    """The process ends here: no exception handler sees this."""


class FailingS3:
    """The connection.

    Attributes:
        denied, archived: keys of images that can never be read, and of those in an archive tier.
        counts: failures by kind, operation and bucket.
        requests: number of requests.
        writes: how often an object was written, by bucket, key and the version of its image.
    """

    def __init__(self, turns: Turns, dice: random.Random, rate: float, images: str, masks: str) -> None:
        """
        Args:
            rate: the fraction of requests that fail.
            films, masks: names of the buckets.
        """
        self.denied: set[str] = set()
        self.archived: set[str] = set()
        self.counts: Counter[tuple[str, Step]] = Counter()
        self.writes: Counter[tuple[str, str, str]] = Counter()
        self.requests = 0
        self._turns, self._dice, self._rate, self._films, self._masks = turns, dice, rate, images, masks
        self._thread = threading.local()

    def reach(self, client: Any) -> None:
        """Make a boto3 client use this connection."""
        client.meta.events.unregister("before-send", botocore_stubber)
        client.meta.events.register("before-send.s3", self._send)

    def spare(self, spared: bool) -> None:
        """Set whether all requests of this thread succeed from now on."""
        self._thread.spared = spared

    def kinds(self, step: Step) -> tuple[str, ...]:
        """Return the failures that a request can have.

        S3 never says that an existing object is missing, but a mask may be written just after the response.
        """
        more = {
            ("HeadObject", self._masks): ("404",),
            ("GetObject", self._films): ("cut", "stalled", "reset"),
            ("GetObject", self._masks): ("cut", "stalled", "reset"),
            ("PutObject", self._masks): ("409",),
            ("DeleteObjects", self._masks): ("kept",),
        }
        return ALWAYS + more.get(step, ())

    def _send(self, request: AWSPreparedRequest, event_name: str, **_: Any) -> AWSResponse:
        place = urlsplit(request.url)
        bucket, key = place.netloc.partition(".s3.")[0], unquote(place.path[1:])
        step = (event_name.rpartition(".")[2], bucket)
        self.requests += 1
        self._turns.pass_on()
        kind = self._fate(step, key)
        if kind in REFUSED:
            return _refused(request, *REFUSED[kind])
        if kind == KILLED_BEFORE:
            raise Killed
        if kind == "timeout":
            raise failures.ReadTimeoutError(endpoint_url=request.url)
        if kind == "no connection":
            raise failures.ConnectTimeoutError(endpoint_url=request.url)
        answer = botocore_stubber(event_name, request)
        assert answer is not None
        if step[0] == "PutObject" and answer.status_code == 200:
            self.writes[bucket, key, request.headers["x-amz-meta-film-version"].decode()] += 1
        self._turns.pass_on()  # others' requests are executed before this response arrives
        if kind == KILLED_AFTER:
            raise Killed
        if kind == "answer lost":
            raise failures.ConnectionClosedError(endpoint_url=request.url)
        if kind == "kept":
            return _answer(request, 200, _KEPT)
        if kind in ("cut", "stalled", "reset") and answer.status_code == 200:
            answer.raw = _Broken(answer.raw.read(), kind)
        return answer

    def _fate(self, step: Step, key: str) -> str | None:
        """Return the failure of a request: the possible one that has happened least; None for success."""
        if step == ("GetObject", self._films) and key in self.denied | self.archived:
            return "403" if key in self.denied else "archived"
        if getattr(self._thread, "spared", False) or self._dice.random() >= self._rate:
            return None
        kinds = list(self.kinds(step))
        self._dice.shuffle(kinds)
        kind = min(kinds, key=lambda each: self.counts[each, step])
        self.counts[kind, step] += 1
        return kind


class _Body(io.BytesIO):
    """A response body as botocore expects it."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


class _Broken(_Body):
    """Half of a body, then the end, a timeout, or a broken connection."""

    def __init__(self, content: bytes, kind: str) -> None:
        super().__init__(content[: len(content) // 2])
        self._kind = kind

    def read(self, amount: int | None = -1) -> bytes:
        part = super().read(amount)
        if self._kind == "stalled":
            raise urllib3.exceptions.ReadTimeoutError(None, "", "timed out")  # type: ignore[arg-type]
        if self._kind == "reset":
            raise urllib3.exceptions.ProtocolError("connection broken")
        return part


_KEPT = (
    '<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Error><Key>x</Key><Code>InternalError</Code>'
    "<Message>We encountered an internal error.</Message></Error></DeleteResult>"
)


def _refused(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    """Return S3's error response; HEAD gets no body."""
    text = f"<Error><Code>{code}</Code><Message>No.</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    return _answer(request, status, "" if request.method == "HEAD" else text)


def _answer(request: AWSPreparedRequest, status: int, text: str) -> AWSResponse:
    return AWSResponse(request.url, status, {"Content-Type": "application/xml"}, _Body(text.encode()))
