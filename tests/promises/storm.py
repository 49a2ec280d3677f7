"""S3 on its worst day: moto's own S3 in this process, at the end of a line on which each request can fail in every way.

Moto keeps S3's rules: versions, conditional writes, listings. The line is a hook of botocore, behind its retries and
before its parsers, so that what the function sees of a failure is what boto3 makes of it.
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
from baton import Baton
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from moto.core.models import botocore_stubber

REFUSED = {
    "403": (403, "AccessDenied"),
    "404": (404, "NoSuchKey"),
    "409": (409, "ConditionalRequestConflict"),
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "archived": (403, "InvalidObjectState"),
}
"""Answers without the request having been done: status and S3's code."""

KILLED_BEFORE, KILLED_AFTER = "killed before", "killed after"

ALWAYS = ("403", "500", "503", "timeout", "no connection", "answer lost", KILLED_BEFORE, KILLED_AFTER)
"""What can become of any request."""

Step = tuple[str, str]
"""An operation of S3, and the bucket that it is for."""


class Killed(BaseException):
    """The process ended here: nothing of it goes on, no exception is handled."""


class Storm:
    """The line.

    Attributes:
        denied, archived: keys of images that can never be read; those in an archive tier.
        counts: faults by kind, operation and bucket.
        requests: how many there were.
        writes: how often an object was written, by bucket, key and the version of its image.
    """

    def __init__(self, baton: Baton, dice: random.Random, rate: float, films: str, masks: str) -> None:
        """
        Args:
            rate: the share of requests that fail.
            images, masks: names of the buckets.
        """
        self.denied: set[str] = set()
        self.archived: set[str] = set()
        self.counts: Counter[tuple[str, Step]] = Counter()
        self.writes: Counter[tuple[str, str, str]] = Counter()
        self.requests = 0
        self._baton, self._dice, self._rate, self._films, self._masks = baton, dice, rate, films, masks
        self._thread = threading.local()

    def reach(self, client: Any) -> None:
        """Let a client of boto3 reach S3 over this line."""
        client.meta.events.unregister("before-send", botocore_stubber)
        client.meta.events.register("before-send.s3", self._send)

    def spare(self, spared: bool) -> None:
        """Whether this thread's requests succeed from now on."""
        self._thread.spared = spared

    def kinds(self, step: Step) -> tuple[str, ...]:
        """What can become of a request besides success.

        S3 never says of an object that lies there that it does not, but a mask may be written just behind the answer.
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
        self._baton.pass_on()
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
        self._baton.pass_on()  # the answer is on its way, and others' requests are done meanwhile
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
        """What becomes of a request: of all that can, the one that has happened least."""
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
    """A body as botocore wants it."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


class _Broken(_Body):
    """Half of a body, and then nothing more, no answer in time, or the connection's end."""

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
    """S3's error; that to HEAD has no body."""
    text = f"<Error><Code>{code}</Code><Message>No.</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    return _answer(request, status, "" if request.method == "HEAD" else text)


def _answer(request: AWSPreparedRequest, status: int, text: str) -> AWSResponse:
    return AWSResponse(request.url, status, {"Content-Type": "application/xml"}, _Body(text.encode()))
