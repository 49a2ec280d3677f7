"""Retry requests that failed temporarily: lost connections, throttling, servers that are still starting."""

from __future__ import annotations

import random
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from lungseg.remote import errors
from lungseg.terminal import print_status

TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed later."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to wait between attempts.

    Attributes:
        attempts: in total; 5 of them span a cold start, or the refill of a throttle's token bucket.
        first_pause: seconds before the second attempt, at most; each pause is twice as long as the previous one.
        max_pause: seconds of one pause without Retry-After.
        max_retry_after: seconds; a response with a longer Retry-After is returned at once.
    """

    attempts: int = 5
    first_pause: float = 1.0
    max_pause: float = 30.0
    max_retry_after: float = 120.0  # lungseg.server.admission.MAX_RETRY_AFTER, the longest that `serve` sends

    def send_with_retries(
        self,
        send: Callable[[], httpx2.Response],
        retry_statuses: frozenset[int] = TRANSIENT_STATUSES,
        pause: Callable[[float], None] = time.sleep,
    ) -> httpx2.Response:
        """Send until a response is final, or until the attempts are used up.

        Args:
            send: builds a new request each time, and reads the whole response.
            retry_statuses: statuses after which to send again.

        Returns:
            The last response, whatever its status.

        Raises:
            Unreachable: the last attempt got no response.
        """
        for attempt in range(1, self.attempts + 1):
            requested = None
            try:
                answer = send()
            except httpx2.RequestError as error:
                if attempt == self.attempts or not _is_transient(error):
                    raise errors.Unreachable(_describe_failure(error)) from None
                reason = _describe_failure(error)
            else:
                requested = retry_after_seconds(answer)
                if (
                    answer.status_code not in retry_statuses
                    or attempt == self.attempts
                    or (requested or 0) > self.max_retry_after
                ):
                    return answer
                reason = f"The service returned {answer.status_code}."
            seconds = self._pause(attempt) if requested is None else requested
            if sys.stderr.isatty():
                print_status(f"{reason} Retrying in {seconds:.1f} s")
            pause(seconds)
        raise AssertionError("attempts is at least 1")

    def _pause(self, attempt: int) -> float:
        # Half of the pause is random, so that clients that failed together do not return together.
        longest = min(self.max_pause, self.first_pause * 2 ** (attempt - 1))
        return random.uniform(longest / 2, longest)


def retry_after_seconds(answer: httpx2.Response) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date; None without a valid one."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # not a date, or a date without a time zone
        return None


def _is_transient(error: httpx2.RequestError) -> bool:
    """Return whether another attempt may succeed; an untrusted certificate stays untrusted."""
    return not isinstance(error, httpx2.UnsupportedProtocol | httpx2.ProxyError) and _certificate_error(error) is None


def _describe_failure(error: httpx2.RequestError) -> str:
    """Return what happened in our words; the error's own text may contain a presigned URL."""
    if (tls := _certificate_error(error)) is not None:
        return f"Its certificate is not trusted ({getattr(tls, 'verify_message', 'no reason given')})."
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return "The connection failed."
    if isinstance(error, httpx2.TimeoutException):
        return "The response timed out."
    if isinstance(error, httpx2.ProxyError):
        return "The proxy refused the connection."
    if isinstance(error, httpx2.DecodingError):
        return "The response cannot be decompressed."
    return "The connection was lost."


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
