"""How long `remote` waits for what may pass, and what it says of what does not."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from lungseg.remote import errors
from lungseg.remote import retry as retry_module
from lungseg.remote.retry import RetryPolicy, retry_after_seconds


def answering(*answers: httpx2.Response | Exception) -> Callable[[], httpx2.Response]:
    """Gives one answer after the other."""
    left = iter(answers)

    def send() -> httpx2.Response:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send


def untrusted() -> httpx2.ConnectError:
    error = httpx2.ConnectError("x")
    cause = ssl.SSLCertVerificationError("x")
    cause.verify_message = "self-signed certificate"
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "says", "tries"),
    [
        (untrusted(), "Its certificate is not trusted (self-signed certificate).", 1),
        (httpx2.ConnectError("secret"), "No connection can be made.", 3),
        (httpx2.ConnectTimeout("secret"), "No connection can be made.", 3),
        (httpx2.ReadTimeout("secret"), "There was no answer in time.", 3),
        (httpx2.ProxyError("secret"), "The proxy refuses to connect.", 1),
        (httpx2.DecodingError("secret"), "The answer cannot be unpacked.", 3),
        (httpx2.RemoteProtocolError("secret"), "The connection broke off.", 3),
    ],
)
def test_what_may_pass_is_tried_again_and_named(error: Exception, says: str, tries: int) -> None:
    pauses: list[float] = []
    with pytest.raises(errors.Unreachable) as caught:
        RetryPolicy(attempts=3).send_with_retries(answering(*[error] * 3), pause=pauses.append)
    assert caught.value.detail == says
    assert len(pauses) == tries - 1


def test_pauses_double_and_differ_from_caller_to_caller() -> None:
    pauses: list[float] = []
    answers = [httpx2.Response(503)] * 8
    assert (
        RetryPolicy(attempts=8, first_pause=1, max_pause=30)
        .send_with_retries(answering(*answers), pause=pauses.append)
        .status_code
        == 503
    )
    for pause, longest in zip(pauses, (1, 2, 4, 8, 16, 30, 30), strict=True):
        assert longest / 2 <= pause <= longest


def test_a_server_that_says_when_is_believed_unless_it_says_too_long() -> None:
    pauses: list[float] = []
    busy, later, good = (httpx2.Response(503, headers={"Retry-After": text}) for text in ("7", "121", ""))
    good.status_code = 200
    assert RetryPolicy().send_with_retries(answering(busy, busy, good), pause=pauses.append) is good
    assert pauses == [7, 7]
    assert RetryPolicy().send_with_retries(answering(later, good), pause=pauses.append) is later
    assert (
        RetryPolicy().send_with_retries(answering(busy, good), retry_statuses=frozenset(), pause=pauses.append) is busy
    )


@pytest.mark.parametrize(
    ("pause", "low", "high"),
    [("12", 12, 12), (" 3 ", 3, 3), (timedelta(hours=1), 3500, 3600), (timedelta(hours=-1), 0, 0)],
)
def test_a_pause_is_a_number_or_a_date(pause: str | timedelta, low: float, high: float) -> None:
    text = pause if isinstance(pause, str) else format_datetime(datetime.now(UTC) + pause, usegmt=True)
    found = retry_after_seconds(httpx2.Response(503, headers={"Retry-After": text}))
    assert found is not None
    assert low <= found <= high


@pytest.mark.parametrize("text", ["", "soon", "-1", "Fri, 31 Dec 1999 23:59:59", "Fri, 99 Dec 1999"])
def test_what_is_neither_says_nothing(text: str) -> None:
    assert retry_after_seconds(httpx2.Response(503, headers={"Retry-After": text})) is None


def test_a_person_is_told_why_it_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retry_module.sys.stderr, "isatty", lambda: True)
    answers = answering(
        httpx2.Response(503, headers={"Retry-After": "2"}), httpx2.ReadTimeout("x"), httpx2.Response(200)
    )
    RetryPolicy(first_pause=0).send_with_retries(answers, pause=lambda _: None)
    assert capsys.readouterr().err.splitlines() == [
        "The service answered 503. Trying again in 2.0 s",
        "There was no answer in time. Trying again in 0.0 s",
    ]
