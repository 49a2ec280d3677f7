"""Sending again what failed for a while: lost connections, throttles, servers that are just starting."""

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
"""Statuses that say: the same request may well succeed later."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to wait.

    Attributes:
        attempts: in all; five of them span what a cold start or a throttle's bucket takes.
        first_pause: seconds before the second attempt, at most; each pause is twice as long as the one before.
        max_pause: seconds of one pause where the server names none.
        max_retry_after: seconds of one pause that the server asks for; one that asks for more is given up.
    """

    attempts: int = 5
    first_pause: float = 1.0
    max_pause: float = 30.0
    max_retry_after: float = 120.0  # the most that `serve` asks for (lungseg.server.admission.MAX_RETRY_AFTER)

    def send_with_retries(
        self,
        send: Callable[[], httpx2.Response],
        retry_statuses: frozenset[int] = TRANSIENT_STATUSES,
        pause: Callable[[float], None] = time.sleep,
    ) -> httpx2.Response:
        """Send until it is answered for good, or until the attempts are used up.

        Args:
            send: builds the request anew each time, and reads the whole answer.
            retry_statuses: statuses after which to send again.

        Returns:
            The last answer, whatever its status.

        Raises:
            Unreachable: the last attempt gave none.
        """
        for attempt in range(1, self.attempts + 1):
            wished = None
            try:
                answer = send()
            except httpx2.RequestError as error:
                if attempt == self.attempts or not _is_transient(error):
                    raise errors.Unreachable(_describe_failure(error)) from None
                why = _describe_failure(error)
            else:
                wished = retry_after_seconds(answer)
                if (
                    answer.status_code not in retry_statuses
                    or attempt == self.attempts
                    or (wished or 0) > self.max_retry_after
                ):
                    return answer
                why = f"The service answered {answer.status_code}."
            seconds = self._pause(attempt) if wished is None else wished
            if sys.stderr.isatty():
                print_status(f"{why} Trying again in {seconds:.1f} s")
            pause(seconds)
        raise AssertionError("attempts is at least 1")

    def _pause(self, attempt: int) -> float:
        # Half of it by chance: callers that failed together do not come back together.
        longest = min(self.max_pause, self.first_pause * 2 ** (attempt - 1))
        return random.uniform(longest / 2, longest)


def retry_after_seconds(answer: httpx2.Response) -> float | None:
    """The seconds that an answer asks to wait, given as a number or as a date; None if it does not say."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):  # no date, or one without a zone
        return None


def _is_transient(error: httpx2.RequestError) -> bool:
    """A certificate that is not trusted will not be so in a second."""
    return not isinstance(error, httpx2.UnsupportedProtocol | httpx2.ProxyError) and _certificate_error(error) is None


def _describe_failure(error: httpx2.RequestError) -> str:
    """What happened; the error's own text may hold a presigned address."""
    if (tls := _certificate_error(error)) is not None:
        return f"Its certificate is not trusted ({getattr(tls, 'verify_message', 'for no named reason')})."
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        return "No connection can be made."
    if isinstance(error, httpx2.TimeoutException):
        return "There was no answer in time."
    if isinstance(error, httpx2.ProxyError):
        return "The proxy refuses to connect."
    if isinstance(error, httpx2.DecodingError):
        return "The answer cannot be unpacked."
    return "The connection broke off."


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
