"""Unexpected responses: each becomes one printable line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from processes import only_line
from remote_command import send_image
from services import Answer, Gateway, problem, serving

from lungseg.remote import errors
from lungseg.remote.service import _read_body


class TestUnexpectedResponse:
    @pytest.mark.parametrize(
        ("answer", "text", "code"),
        [
            (Answer(404, b"not here", {"content-type": "text/plain"}), "bad-answer: The service returned 404.", 1),
            (Answer(403, b'{"message": "Missing Authentication Token"}'), "ends with its stage", 1),
            (Answer(413, b'{"message": "Request Too Long"}'), "too-large: A gateway", 2),
            (Answer(200, b"welcome", {"content-type": "text/html"}), "bad-answer", 1),
            (Answer(500, b'{"message": null}'), "busy: The service returned 500.", 1),
            (Answer(422, b"[1, 2]"), "bad-answer", 1),
            (problem(422, "x\x1b[2J", "two\nlines \x1b]0;title\x07"), r"two\nlines \x1b]0;title\x07", 2),
        ],
    )
    def test_error_is_one_printable_line(
        self, answer: Answer, text: str, code: int, image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(lambda *_: answer)) as address:
            assert send_image(image, address) == code
        line = only_line(capsys)
        assert text in line
        assert line.isprintable()
        assert not Path(f"{image}.mask.png").exists()

    def test_compressed_response_is_rejected(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        encodings: list[str] = []

        def hook(_: str, __: str, headers: dict[str, str]) -> Answer:
            encodings.append(headers["accept-encoding"])
            return Answer(200, gzip.compress(bytes(10**7)), {"content-encoding": "gzip", "x-lung-decision": "accept"})

        with serving(Gateway(hook)) as address:
            assert send_image(image, address) == 1
        assert "bad-answer: The service's response is compressed" in only_line(capsys)
        assert encodings == ["identity"]
        assert not Path(f"{image}.mask.png").exists()

    def test_compressed_error_keeps_its_status(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = Answer(403, gzip.compress(bytes(10**7)), {"content-encoding": "gzip"})
        with serving(Gateway(lambda *_: answer)) as address:
            assert send_image(image, address) == 2
        assert "not-authorised: The service returned 403." in only_line(capsys)

    @pytest.mark.parametrize("stated", [True, False], ids=["stated", "chunked"])
    @pytest.mark.parametrize(("status", "code"), [(200, 1), (403, 2)])
    def test_overlong_response_is_cut_off(
        self,
        stated: bool,
        status: int,
        code: int,
        image: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in ("MAX_OUTPUT_BYTES", "MAX_PROBLEM_BYTES"):
            monkeypatch.setattr(f"lungseg.remote.service.{name}", 10**6)
        headers = {"content-length": "2000000"} if stated else {}
        answer = Answer(status, bytes(2 * 10**6), {"x-lung-decision": "accept"} | headers)
        with serving(Gateway(lambda *_: answer)) as address:
            assert send_image(image, address) == code
        assert ("longer than 1,000,000 bytes" if code == 1 else "not-authorised") in only_line(capsys)
        assert not Path(f"{image}.mask.png").exists()

    def test_endless_response_is_cut_off(self) -> None:
        pieces = iter([bytes(1000)] * 100)
        with pytest.raises(errors.BadAnswer, match="longer than 5,000 bytes"):
            _read_body(httpx2.Response(200, content=pieces), 5000)
        assert len(list(pieces)) > 90

    @pytest.mark.parametrize(
        "document",
        [b"no json", b"[]", b"{}", b'{"id": "../x", "upload": {"url": "http://h/", "fields": {}}}', b'{"id": "1"}'],
    )
    def test_invalid_job_document_is_rejected(
        self, document: bytes, large_image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(lambda *_: Answer(201, document))) as address:
            assert send_image(large_image, address) == 1
        assert "bad-answer" in only_line(capsys)

    def test_bucket_error_quotes_only_its_code(self, large_image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        xml = b"<Error><Code>AccessDenied</Code><Message>Policy expired</Message><Key>jobs/1/film</Key></Error>"
        ticket: dict[str, Any] = {"id": "1" * 32, "upload": {"fields": {"key": "jobs/1/film"}}}

        def hook(_: str, path: str, __: dict[str, str]) -> Answer:
            if path == "/v1/jobs":
                return Answer(201, json.dumps(ticket).encode())
            return Answer(403, xml, {"content-type": "application/xml"})

        with serving(Gateway(hook)) as address:
            ticket["upload"]["url"] = f"{address}/bucket"
            assert send_image(large_image, address) == 1
        line = only_line(capsys)
        assert "storage-refused: It returned 403 (AccessDenied)." in line
        assert "jobs/1" not in line
