"""Retries of the remote client: which failures, how often, and how long the pauses are."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx2
import pytest
from processes import only_line
from remote_command import send_image
from services import Answer, Gateway, first, line_to, problem, serving

from lungseg.cli.main import main
from lungseg.remote import errors
from lungseg.remote import retry as retry_module
from lungseg.remote.retry import RetryPolicy, retry_after_seconds


class TestRetries:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_temporary_failure_is_retried(self, status: int, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        busy = Answer(status, b'{"message": "busy"}', {"retry-after": "1"})
        gateway = Gateway(first(busy, busy))
        with serving(gateway) as address:
            started = time.monotonic()
            assert send_image(image, address) == 0
            assert 2 <= time.monotonic() - started < 10
        assert len(gateway.seen) == 3
        assert capsys.readouterr().err.startswith("image: ")

    @pytest.mark.parametrize(("code", "status"), [("internal-error", 500), ("too-small", 422), ("bad-parameter", 400)])
    def test_final_error_is_not_retried(
        self, code: str, status: int, image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gateway = Gateway(lambda *_: problem(status, code))
        with serving(gateway) as address:
            assert send_image(image, address) == (1 if status == 500 else 2)
        assert only_line(capsys) == f"error: {code}: What was found. What to do."
        assert len(gateway.seen) == 1

    def test_request_is_sent_five_times_at_most(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gateway = Gateway(lambda *_: Answer(502, b"<html>Bad Gateway</html>"))
        with serving(gateway) as address:
            assert send_image(image, address) == 1
        assert "busy: The service returned 502." in only_line(capsys)
        assert len(gateway.seen) == 5

    def test_long_retry_after_is_not_waited_for(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gateway = Gateway(lambda *_: Answer(429, b'{"message": "Limit Exceeded"}', {"retry-after": "3600"}))
        with serving(gateway) as address:
            assert send_image(image, address) == 1
        assert "(Limit Exceeded). Its Retry-After is 3600 s." in only_line(capsys)
        assert len(gateway.seen) == 1

    def test_lost_connection_is_retried(
        self, image: Path, large_image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving() as address, line_to(address, breaks=2) as line:
            assert send_image(image, line.address) == 0
            line.breaks = 2  # also in the middle of an upload
            assert send_image(large_image, line.address) == 0
        capsys.readouterr()
        assert main(["segment", str(large_image), "-o", f"{large_image}.own"]) == 0
        assert Path(f"{large_image}.mask.png").read_bytes() == Path(f"{large_image}.own").read_bytes()

    def test_unreachable_service_is_one_line(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with line_to("http://127.0.0.1:9", breaks=99) as line:
            assert send_image(image, line.address) == 1
            assert "unreachable: The connection was lost." in only_line(capsys)
        assert send_image(image, line.address) == 1
        assert "unreachable: The connection failed." in only_line(capsys)


def send_each(*answers: httpx2.Response | Exception) -> Callable[[], httpx2.Response]:
    """Return a function that returns or raises one answer after the other."""
    left = iter(answers)

    def send_next() -> httpx2.Response:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return send_next


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
        (httpx2.ConnectError("secret"), "The connection failed.", 3),
        (httpx2.ConnectTimeout("secret"), "The connection failed.", 3),
        (httpx2.ReadTimeout("secret"), "The response timed out.", 3),
        (httpx2.ProxyError("secret"), "The proxy refused the connection.", 1),
        (httpx2.DecodingError("secret"), "The response cannot be decompressed.", 3),
        (httpx2.RemoteProtocolError("secret"), "The connection was lost.", 3),
    ],
)
def test_connection_errors_are_named_and_retried(error: Exception, says: str, tries: int) -> None:
    pauses: list[float] = []
    with pytest.raises(errors.Unreachable) as caught:
        RetryPolicy(attempts=3).send_with_retries(send_each(*[error] * 3), pause=pauses.append)
    assert caught.value.detail == says
    assert len(pauses) == tries - 1


def test_pauses_double_with_jitter() -> None:
    pauses: list[float] = []
    answers = [httpx2.Response(503)] * 8
    assert (
        RetryPolicy(attempts=8, first_pause=1, max_pause=30)
        .send_with_retries(send_each(*answers), pause=pauses.append)
        .status_code
        == 503
    )
    for pause, longest in zip(pauses, (1, 2, 4, 8, 16, 30, 30), strict=True):
        assert longest / 2 <= pause <= longest


def test_retry_after_is_respected_up_to_a_limit() -> None:
    pauses: list[float] = []
    busy, later, good = (httpx2.Response(503, headers={"Retry-After": text}) for text in ("7", "121", ""))
    good.status_code = 200
    assert RetryPolicy().send_with_retries(send_each(busy, busy, good), pause=pauses.append) is good
    assert pauses == [7, 7]
    assert RetryPolicy().send_with_retries(send_each(later, good), pause=pauses.append) is later
    assert (
        RetryPolicy().send_with_retries(send_each(busy, good), retry_statuses=frozenset(), pause=pauses.append) is busy
    )


@pytest.mark.parametrize(
    ("pause", "low", "high"),
    [("12", 12, 12), (" 3 ", 3, 3), (timedelta(hours=1), 3500, 3600), (timedelta(hours=-1), 0, 0)],
)
def test_retry_after_is_a_number_or_a_date(pause: str | timedelta, low: float, high: float) -> None:
    text = pause if isinstance(pause, str) else format_datetime(datetime.now(UTC) + pause, usegmt=True)
    found = retry_after_seconds(httpx2.Response(503, headers={"Retry-After": text}))
    assert found is not None
    assert low <= found <= high


@pytest.mark.parametrize("text", ["", "soon", "-1", "Fri, 31 Dec 1999 23:59:59", "Fri, 99 Dec 1999"])
def test_invalid_retry_after_is_ignored(text: str) -> None:
    assert retry_after_seconds(httpx2.Response(503, headers={"Retry-After": text})) is None


def test_retries_are_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(retry_module.sys.stderr, "isatty", lambda: True)
    answers = send_each(
        httpx2.Response(503, headers={"Retry-After": "2"}), httpx2.ReadTimeout("x"), httpx2.Response(200)
    )
    RetryPolicy(first_pause=0).send_with_retries(answers, pause=lambda _: None)
    assert capsys.readouterr().err.splitlines() == [
        "The service returned 503. Retrying in 2.0 s",
        "The response timed out. Retrying in 0.0 s",
    ]
