"""HTTP sessions with a DICOMweb server: rate limit, retries, and answers of bounded length."""

from __future__ import annotations

import io
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests import PreparedRequest, Response
from urllib3.exceptions import HTTPError, InvalidHeader

from lungseg import __version__
from lungseg.dicomweb.errors import (
    DicomwebError,
    OversizedAnswer,
    ServerRefused,
    ServerUnreachable,
    UntrustedServer,
)
from lungseg.dicomweb.login import Login
from lungseg.remote.loopback import is_loopback

# urllib3 logs URLs, and so UIDs.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)

TRANSIENT_ANSWERS = frozenset({408, 429, 502, 503, 504})
"""Statuses after which the same request may succeed later."""

MAX_ATTEMPTS = 5
MAX_PAUSE_SECONDS = 16.0
"""Longest pause between two attempts, unless the server asks for another one."""

MAX_RETRY_AFTER_SECONDS = 120.0
"""A longer Retry-After ends the attempts."""

MAX_BODY_SECONDS = 600.0
"""Time for one answer: a server that sends a byte every few seconds never exceeds the timeout for one read."""

JSON_MEDIA_TYPE = "application/dicom+json"

CONNECT_SECONDS = 15.0
CHUNK = 2**18


@dataclass(frozen=True)
class ServerAccess:
    """How to reach a server.

    Attributes:
        url: the base URL, without a slash at its end.
        login: the credentials.
        ca_file: certificates of authorities to trust instead of the system's; None for those.
        client_cert: the client's certificate, PEM; its key may be in the same file.
        client_key: the key, if it is in a file of its own.
        timeout: seconds that the server may be silent.
        requests_per_second: of all threads together; None for no limit.
    """

    url: str
    login: Login
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    timeout: float = 60.0
    requests_per_second: float | None = None


class RateLimit:
    """Spaces the requests of all threads evenly."""

    def __init__(self, per_second: float | None) -> None:
        self._interval = 0.0 if per_second is None else 1 / per_second
        self._lock = threading.Lock()
        self._next = 0.0

    def reserve(self) -> float:
        """Reserve the next slot; return the seconds until then."""
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + self._interval
            return start - now


class DicomwebSession(requests.Session):
    """A session of one thread. Every answer is read whole, up to a limit, before it is returned.

    Redirects are not followed: they could lead the credentials and the images to another host.
    """

    def __init__(
        self, access: ServerAccess, rate: RateLimit, max_bytes: int, pause: Callable[[float], bool] | None = None
    ) -> None:
        """Prepare a session; nothing is sent yet.

        Args:
            access: the server.
            rate: shared with the other sessions.
            max_bytes: of an answer.
            pause: waits for so many seconds; returns False if no further attempt should follow.
        """
        super().__init__()
        self.auth = access.login
        self.headers["User-Agent"] = f"lungseg/{__version__}"
        # 1 MB of gzip may expand to 1 GB.
        self.headers["Accept-Encoding"] = "identity"
        self.headers["Accept"] = JSON_MEDIA_TYPE
        self._access, self._rate, self._max_bytes = access, rate, max_bytes
        self._pause = pause or _sleep

    def send(self, request: PreparedRequest, **options: Any) -> Response:
        """Send a request, with retries; return the whole answer, whatever its status.

        Raises:
            ServerUnreachable, UntrustedServer, OversizedAnswer, ServerRefused, BadLogin.
        """
        # dicomweb-client sets the host without its port, and accepts two types, of which Orthanc complains in its log.
        request.headers.pop("Host", None)
        if "json" in request.headers["Accept"]:
            request.headers["Accept"] = JSON_MEDIA_TYPE
        access = self._access
        options |= {"stream": True, "allow_redirects": False, "timeout": (CONNECT_SECONDS, access.timeout)}
        if is_loopback(urlsplit(access.url).hostname or ""):
            options["proxies"] = {}  # a proxy could read the images
        # The environment's REQUESTS_CA_BUNDLE would override the session's own.
        options["verify"] = True if access.ca_file is None else str(access.ca_file)
        if access.client_cert is not None:
            cert = str(access.client_cert)
            options["cert"] = cert if access.client_key is None else (cert, str(access.client_key))
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if delay := self._rate.reserve():
                self._pause(delay)
            requested: float | None = None
            problem: DicomwebError | None = None
            try:
                answer = self._send_once(access.login(request), options)
            except (requests.RequestException, HTTPError, OSError) as error:
                problem = _describe(error)
                if not isinstance(problem, ServerUnreachable):
                    raise problem from None
            else:
                requested = retry_after(answer)
                if answer.status_code not in TRANSIENT_ANSWERS or (requested or 0) > MAX_RETRY_AFTER_SECONDS:
                    return answer
            seconds = _backoff(attempt) if requested is None else requested
            if attempt == MAX_ATTEMPTS or not self._pause(seconds):
                break
        if problem is not None:
            raise problem
        return answer

    def _send_once(self, request: PreparedRequest, options: dict[str, Any]) -> Response:
        answer = super().send(request, **options)
        try:
            if answer.is_redirect:
                raise ServerRefused(f"It returned {answer.status_code}, a redirect; redirects are not followed.")
            body = self._read_body(answer)
        finally:
            answer.close()
        answer.raw = io.BytesIO(body)
        answer.headers["Content-Type"] = _plain_type(answer.headers.get("Content-Type", ""))
        return answer

    def _read_body(self, answer: Response) -> bytes:
        deadline = time.monotonic() + MAX_BODY_SECONDS
        length = answer.headers.get("Content-Length", "")
        too_long = OversizedAnswer(f"It is longer than {self._max_bytes:,} bytes.")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            raise too_long
        body = io.BytesIO()
        for chunk in answer.raw.stream(CHUNK, decode_content=True):
            body.write(chunk)
            if body.tell() > self._max_bytes:
                raise too_long
            if time.monotonic() > deadline:
                raise ServerUnreachable(f"The answer took longer than {MAX_BODY_SECONDS:.0f} s.")
        return body.getvalue()


def retry_after(answer: Response) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None without a valid one."""
    text = answer.headers.get("Retry-After", "")
    try:
        return urllib3.Retry().parse_retry_after(text)
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _plain_type(content_type: str) -> str:
    """Return a Content-Type; one of JSON without its parameters, since dicomweb-client compares it as a whole."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind if kind.endswith("json") else content_type


def _describe(error: Exception) -> DicomwebError:
    """Return what happened in our words; the error's own text contains the URL."""
    if isinstance(error, DicomwebError):
        return error
    chain: BaseException | None = error
    while chain is not None:
        reasons = [chain, getattr(chain, "reason", None), *chain.args]
        for reason in reasons:
            if isinstance(reason, ssl.SSLCertVerificationError):
                return UntrustedServer(f"Its certificate is not trusted ({reason.verify_message}).")
            if isinstance(reason, ssl.SSLError) and not isinstance(reason, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                return UntrustedServer(f"The handshake failed ({reason.reason or 'no reason given'}).")
        chain = chain.__cause__ or chain.__context__
    if isinstance(error, requests.exceptions.SSLError):
        return UntrustedServer("The handshake failed.")
    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        return UntrustedServer(f"A file with certificates cannot be read ({error.strerror or 'invalid path'}).")
    if isinstance(error, requests.exceptions.ProxyError):
        return ServerUnreachable("The proxy refused the connection.")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return ServerUnreachable("The connection failed.")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return ServerUnreachable("The answer timed out.")
    if isinstance(error, requests.ConnectionError):
        return ServerUnreachable("The connection failed or was lost.")
    return ServerUnreachable("The connection was lost before the whole answer arrived.")


def _backoff(attempt: int) -> float:
    # Half of the pause is random, so that clients that failed together do not return together.
    longest = min(MAX_PAUSE_SECONDS, 2.0 ** (attempt - 1))
    return random.uniform(longest / 2, longest)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return True
