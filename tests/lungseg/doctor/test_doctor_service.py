"""`doctor --url`: a healthy service, and each thing that can be wrong with one."""

from __future__ import annotations

import base64
import json

import pytest
from buckets import Buckets
from doctor_command import DOCTOR_KEY, SERVICE_CHECKS, run_doctor
from services import Answer, Gateway, keyed, line_to, serving, worker
from starlette.types import Message, Receive, Scope, Send

from app.main import app
from lungseg.cli.main import main
from lungseg.doctor.service import OVERSIZED_BYTES
from lungseg.errors import ModelError
from lungseg.remote.segment import MAX_DIRECT_BYTES

JSON = {"Content-Type": "application/json"}


def fail_to_load() -> None:
    raise ModelError("the file is broken")


class TestUrl:
    def test_local_server_passes(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving() as address:
            assert main(["doctor", "--url", address]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.partition(":")[0] for line in lines[:-1]] == [f"ok       {name}" for name in SERVICE_CHECKS]
        assert lines[-1] == "6 checks: 0 failed, 0 warnings"

    def test_unreachable_service_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        with line_to("http://127.0.0.1:9") as line:
            pass
        code, checks = run_doctor(capsys, "--url", line.address)
        assert (code, list(checks)) == (1, ["service"])
        assert checks["service"]["text"] == "The connection failed"

    def test_other_server_fails(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(Gateway(lambda *_: Answer(200, b"<html>"))) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert (code, list(checks)) == (1, ["service"])

    def test_rejected_credentials_fail(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(Gateway(keyed(DOCTOR_KEY))) as address:
            code, checks = run_doctor(capsys, "--url", address, "--api-key", "wrong")
            assert (code, list(checks)) == (1, ["service", "authorisation", "credentials"])
            code, checks = run_doctor(capsys, "--url", address, "--api-key", DOCTOR_KEY)
        assert code == 0
        assert checks["authorisation"]["text"] == "requests without credentials are rejected (403)"
        assert checks["credentials"]["state"] == "ok"

    def test_images_that_arrive_as_text_fail(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(Gateway(behind=TextDecodingGateway())) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert code == 1
        assert "images arrive as text" in checks["binary mode"]["text"]
        assert "*/*" in checks["binary mode"]["remedy"]

    def test_masks_returned_as_text_fail(self, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(Gateway(behind=Base64Gateway())) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert code == 1
        assert "returned as text" in checks["binary mode"]["text"]

    def test_other_model_is_a_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        card = json.dumps({"segmentation": {"sha256": "f" * 64}}).encode()
        with serving(Gateway(lambda _, path, __: Answer(200, card) if path == "/v1/model" else None)) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert (code, checks["model"]["state"]) == (0, "warning")
        assert "f" * 16 in checks["model"]["text"]

    @pytest.mark.parametrize(
        ("limit", "status", "state", "text"),
        [
            (OVERSIZED_BYTES, 413, "ok", "are rejected (413)"),
            (OVERSIZED_BYTES, 502, "warning", "return 502 instead of 413"),
            (MAX_DIRECT_BYTES, 413, "failed", "return 413"),
        ],
    )
    def test_payload_limits(
        self, limit: int, status: int, state: str, text: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def hook(_: str, __: str, headers: dict[str, str]) -> Answer | None:
            return Answer(status) if int(headers.get("content-length", "0")) >= limit else None

        with serving(Gateway(hook)) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert code == (state == "failed")
        assert checks["payload limit"]["state"] == state
        assert text in checks["payload limit"]["text"]

    def test_at_most_10_megabytes_are_sent(self, capsys: pytest.CaptureFixture[str]) -> None:
        gateway = Gateway()
        with serving(gateway) as address:
            assert main(["doctor", "--url", address]) == 0
        capsys.readouterr()
        assert sum(int(headers.get("content-length", "0")) for *_, headers in gateway.seen) < 10**7

    @pytest.mark.parametrize(
        ("where", "answer", "name", "state", "says"),
        [
            ("/health", Answer(500), "service", "failed", "returned 500"),
            ("/health", Answer(200, b"[]", JSON), "service", "failed", "returned 200"),
            (
                "/health",
                Answer(200, b'{"status": "ok", "version": "0"}', JSON),
                "service",
                "warning",
                "version differs",
            ),
            ("/v1/model", Answer(200, b"{}", JSON), "model", "failed", "returned no digest"),
            ("/v1/model", Answer(200, b"no JSON"), "model", "failed", "returned no digest"),
            ("/v1/segment", Answer(200, b"GIF89a"), "binary mode", "failed", "not a PNG"),
            ("/v1/segment", Answer(404), "binary mode", "failed", "404"),
            (f"/v1/jobs/{'0' * 32}", Answer(403, b"{}", JSON), "jobs", "failed", "large images cannot be sent"),
        ],
    )
    def test_unexpected_response_is_reported(
        self, where: str, answer: Answer, name: str, state: str, says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(lambda _, path, __: answer if path == where else None)) as address:
            code, checks = run_doctor(capsys, "--url", address)
        assert code == (state == "failed")
        assert checks[name]["state"] == state
        assert says in checks[name]["text"]

    def test_broken_local_model_is_a_warning(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving() as address, monkeypatch.context() as patch:
            patch.setattr("lungseg.doctor.service.load_models", fail_to_load)
            code, checks = run_doctor(capsys, "--url", address)
        assert code == 0
        assert checks["model"]["text"] == "it cannot be compared: the file is broken"

    def test_job_of_the_test_pattern(
        self, buckets: Buckets, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(worker(buckets))) as address:
            code, checks = run_doctor(capsys, "--url", address, "--job")
        assert (code, checks["test job"]["state"]) == (0, "ok")
        monkeypatch.setattr("lungseg.doctor.service.MAX_JOB_SECONDS", 1)
        with serving() as address:
            code, checks = run_doctor(capsys, "--url", address, "--job")
        assert (code, checks["test job"]["state"]) == (1, "failed")

    def test_service_arguments_need_a_service(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["doctor", "--sign"]) == 2
        assert "--stack or --url" in capsys.readouterr().err


class TextDecodingGateway:
    """A gateway without binary mode: it decodes requests as text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        messages: list[Message] = [
            {"type": "http.request", "body": body.decode("utf-8", "replace").encode(), "more_body": False}
        ]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await app(scope, replay, send)


class Base64Gateway:
    """A gateway without binary mode: it leaves responses in the function's base64."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_base64(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"] == "/v1/segment":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"content-length"]
            elif message.get("body") and scope["path"] == "/v1/segment":
                message["body"] = base64.b64encode(message["body"])
            await send(message)

        await app(scope, receive, send_base64)
