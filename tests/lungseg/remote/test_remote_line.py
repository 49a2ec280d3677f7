"""What lies between `remote` and the service: who is let in, where credentials go, and lines and servers that fail."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import reduce
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import httpx2
import pytest
from buckets import Buckets
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import only_line
from services import Answer, Gateway, first, keyed, line_to, problem, serving

from lungseg.cli.main import main
from lungseg.remote import errors
from lungseg.remote.credentials import Credentials
from lungseg.remote.retry import RetryPolicy
from lungseg.remote.service import ServiceClient, _read_body

KEY = "a-key-of-the-tests"
TEMPLATE = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, and nothing of this machine's own settings goes along."""
    monkeypatch.setattr("lungseg.remote.service.RetryPolicy", lambda: RetryPolicy(first_pause=0.01))
    for name in ("LUNG_API_KEY", "LUNG_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def film(tmp_path: Path, small: bytes) -> Path:
    """An image that is soon done."""
    path = tmp_path / "film.png"
    path.write_bytes(small)
    return path


def send(film: Path, address: str, *more: str) -> int:
    return main(["remote", "segment", str(film), "--url", address, *more])


class TestAccess:
    def test_a_key_of_the_environment_or_of_the_command_line(
        self, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(keyed(KEY))) as address:
            assert send(film, address) == 2
            assert "not-authorised" in only_line(capsys)
            assert send(film, address, "--api-key", KEY) == 0
            monkeypatch.setenv("LUNG_API_KEY", KEY)
            assert send(film, address) == 0
            capsys.readouterr()
            assert send(film, address, "--api-key", "wrong-one") == 2
            assert "wrong-one" not in only_line(capsys)

    def test_a_token(self, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        def hook(_: str, __: str, headers: dict[str, str]) -> Answer | None:
            return None if headers.get("authorization") == "Bearer abc" else Answer(401, b'{"message": "Unauthorized"}')

        with serving(Gateway(hook)) as address:
            assert send(film, address) == 2
            assert "(Unauthorized)" in only_line(capsys)
            monkeypatch.setenv("LUNG_TOKEN", "abc")
            assert send(film, address) == 0
            capsys.readouterr()
            assert send(film, address, "--sign") == 2
            assert "--sign" in only_line(capsys)

    def test_credentials_travel_encrypted_or_not_at_all(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert send(film, "http://films.example.org/v1", "--api-key", KEY) == 2
        line = only_line(capsys)
        assert "insecure-address" in line
        assert KEY not in line

    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_nothing_for_this_machine_goes_through_a_proxy(
        self, name: str, film: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for each in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(each, raising=False)
        with serving(Gateway(lambda *_: Answer(200))) as proxy, serving(Gateway(keyed(KEY))) as address:
            monkeypatch.setenv(name, proxy)
            assert send(film, address, "--api-key", KEY) == 0
            monkeypatch.setenv(name, "socks7://nowhere")
            assert send(film, address.replace("127.0.0.1", "localhost"), "--api-key", KEY) == 0

    def test_presigned_addresses_on_this_machine_take_no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(Gateway(lambda *_: Answer(200, b"mask"))) as address:
            monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
            with ServiceClient("http://service.example.org") as service:
                assert service.download_output(f"{address}/bucket") == b"mask"

    def test_plain_presigned_addresses_do_not_lead_away_from_this_machine(self) -> None:
        with ServiceClient("http://127.0.0.1:8000") as service, pytest.raises(errors.BadAnswer, match="https://"):
            service.download_output("http://bucket.example.org/x")

    def test_unusable_proxy_is_one_line(
        self, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "nothing://name:secret@proxy")
        assert send(film, "https://service.example.org") == 2
        line = only_line(capsys)
        assert "bad-address: The proxy" in line
        assert "secret" not in line

    @pytest.mark.parametrize(
        "url",
        [
            "film.dcm",
            "ftp://h/",
            "https://",
            "https://u:p@h/",
            "https://h/?a=b",
            "http://[",
            "http://a b/",
            "http://h:99999/",
        ],
    )
    def test_an_address_that_is_none(self, url: str, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert send(film, url) == 2
        assert "bad-address" in only_line(capsys)

    def test_a_key_with_a_line_break_is_said_and_not_sent(
        self, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LUNG_API_KEY", f"{KEY}\n")
        assert send(film, "http://127.0.0.1:9") == 2
        assert "line break" in only_line(capsys)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirects_are_not_followed(self, status: int, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        elsewhere = Gateway()
        with serving(elsewhere) as other:
            there = {"location": f"{other}/v1/segment"}
            with serving(Gateway(lambda *_: Answer(status, headers=there))) as address:
                assert send(film, address, "--api-key", KEY) == 1
        assert "not followed" in only_line(capsys)
        assert not elsewhere.seen

    def test_a_stack_tells_address_and_key(
        self, film: Path, buckets: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gateway = boto3.client("apigateway")
        key = gateway.create_api_key(name="films", enabled=True, value="k" * 30)
        with serving(Gateway(keyed("k" * 30))) as address:
            stack("lungs", ApiUrl=address, ApiKeyId=key["id"])
            assert main(["remote", "segment", str(film), "--stack", "lungs"]) == 0
            assert "k" * 30 not in capsys.readouterr().err
            assert main(["remote", "segment", str(film), "--stack", "no-such"]) == 2
            assert "DescribeStacks answered ValidationError" in only_line(capsys)
            stack("empty", Other="x")
            assert main(["remote", "segment", str(film), "--stack", "empty"]) == 2
            assert "no output ApiUrl" in only_line(capsys)

    def test_aws_that_cannot_be_asked_is_one_line(
        self, film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        for settings, text in (
            ({}, "no region"),
            ({"AWS_DEFAULT_REGION": "eu-west-1"}, "no AWS credentials"),
            ({"AWS_PROFILE": "missing"}, "ProfileNotFound"),
        ):
            for name, value in settings.items():
                monkeypatch.setenv(name, value)
            assert main(["remote", "segment", str(film), "--stack", "lungs"]) == 2
            assert text in only_line(capsys)


class TestSignature:
    """Recomputed here by hand, by AWS's description of Signature Version 4."""

    SECRET = "secret-of-the-tests"

    def check(self, method: str, path: str, headers: dict[str, str], body_digest: str, region: str) -> bool:
        fields = dict(part.strip().split("=", 1) for part in headers["authorization"].partition(" ")[2].split(","))
        date, day = headers["x-amz-date"], headers["x-amz-date"][:8]
        names = fields["SignedHeaders"].split(";")
        place, _, query = path.partition("?")
        canonical = "\n".join(
            [
                method,
                quote(place, safe="/-_.~"),
                "&".join(sorted(query.split("&"))),
                *(f"{name}:{headers[name]}" for name in names),
                "",
                fields["SignedHeaders"],
                body_digest,
            ]
        )
        scope = f"{day}/{region}/execute-api/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = reduce(
            lambda key, part: hmac.digest(key, part.encode(), "sha256"),
            (day, region, "execute-api", "aws4_request"),
            f"AWS4{self.SECRET}".encode(),
        )
        assert fields["Credential"] == f"AKIATESTS/{scope}"
        return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), fields["Signature"])

    def test_requests_are_signed_whole(
        self, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
        gateway = Gateway()
        with serving(gateway) as address:
            assert send(film, address, "--sign", "--region", "eu-west-1", "--threshold", "0.25") == 0
        ((method, path, headers),) = gateway.seen
        assert headers["x-amz-security-token"] == "session"
        digest = hashlib.sha256(film.read_bytes()).hexdigest()
        assert self.check(method, path, headers, digest, "eu-west-1")
        assert not self.check(method, path, headers, "0" * 64, "eu-west-1")
        assert self.SECRET not in capsys.readouterr().err

    def test_the_region_is_the_hosts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.SECRET)
        base = httpx2.URL("https://abc123.execute-api.eu-north-1.amazonaws.com/v1")
        auth = Credentials(sign=True).http_auth(base)
        assert auth is not None
        request = next(auth.sync_auth_flow(httpx2.Request("GET", f"{base}/v1/model")))
        assert "/eu-north-1/execute-api/" in request.headers["Authorization"]


class TestRetries:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_what_fails_for_a_while_is_sent_again(
        self, status: int, film: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        busy = Answer(status, b'{"message": "busy"}', {"retry-after": "1"})
        gateway = Gateway(first(busy, busy))
        with serving(gateway) as address:
            started = time.monotonic()
            assert send(film, address) == 0
            assert 2 <= time.monotonic() - started < 10
        assert len(gateway.seen) == 3
        assert capsys.readouterr().err.startswith("image: ")

    @pytest.mark.parametrize(("code", "status"), [("internal-error", 500), ("too-small", 422), ("bad-parameter", 400)])
    def test_what_is_refused_for_good_is_not(
        self, code: str, status: int, film: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gateway = Gateway(lambda *_: problem(status, code))
        with serving(gateway) as address:
            assert send(film, address) == (1 if status == 500 else 2)
        assert only_line(capsys) == f"error: {code}: What was found. What to do."
        assert len(gateway.seen) == 1

    def test_five_times_and_no_more(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gateway = Gateway(lambda *_: Answer(502, b"<html>Bad Gateway</html>"))
        with serving(gateway) as address:
            assert send(film, address) == 1
        assert "busy: The service answered 502." in only_line(capsys)
        assert len(gateway.seen) == 5

    def test_a_wait_of_an_hour_is_not_waited(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        gateway = Gateway(lambda *_: Answer(429, b'{"message": "Limit Exceeded"}', {"retry-after": "3600"}))
        with serving(gateway) as address:
            assert send(film, address) == 1
        assert "(Limit Exceeded). It asks to wait 3600 s." in only_line(capsys)
        assert len(gateway.seen) == 1

    def test_a_line_that_breaks_is_taken_up_again(
        self, film: Path, rg1: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        large = tmp_path / "large.dcm"
        large.write_bytes(rg1)
        with serving() as address, line_to(address, breaks=2) as line:
            assert send(film, line.address) == 0
            line.breaks = 2  # and in the middle of an upload, straight from the disk
            assert send(large, line.address) == 0
        capsys.readouterr()
        assert main(["segment", str(large), "-o", f"{large}.own"]) == 0
        assert Path(f"{large}.mask.png").read_bytes() == Path(f"{large}.own").read_bytes()

    def test_nobody_there_is_one_line(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with line_to("http://127.0.0.1:9", breaks=99) as line:
            assert send(film, line.address) == 1
            assert "unreachable: The connection broke off." in only_line(capsys)
        assert send(film, line.address) == 1
        assert "unreachable: No connection can be made." in only_line(capsys)

    def test_pauses_grow_and_differ(self) -> None:
        pauses: list[float] = []
        answer = httpx2.Response(503)
        for _ in range(50):
            assert RetryPolicy(attempts=8).send_with_retries(lambda: answer, pause=pauses.append) is answer
        for place, longest in enumerate([1, 2, 4, 8, 16, 30, 30]):
            these = pauses[place::7]
            assert longest / 2 <= min(these) < max(these) <= longest
            assert len(set(these)) == 50

    def test_retry_after_is_a_number_or_a_date(self) -> None:
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
        for text, least, most in (("7", 7, 7), (soon, 15, 20), ("Mon, 01 Jan 2024 00:00:00 GMT", 0, 0)):
            pauses: list[float] = []
            answers = iter([httpx2.Response(503, headers={"Retry-After": text}), httpx2.Response(200)])
            RetryPolicy().send_with_retries(lambda: next(answers), pause=pauses.append)  # noqa: B023
            assert least <= pauses[0] <= most
        for text in ("soon", "-1", "Mon, 01 Jan 2024 00:00:00"):
            pauses = []
            answers = iter([httpx2.Response(503, headers={"Retry-After": text}), httpx2.Response(200)])
            RetryPolicy().send_with_retries(lambda: next(answers), pause=pauses.append)  # noqa: B023
            assert 0.5 <= pauses[0] <= 1

    def test_a_certificate_that_is_not_trusted_is_said_at_once(
        self, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        attempts: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(tmp_path))
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def shake_hands() -> None:
                with suppress(OSError):
                    while True:
                        caller, _ = listener.accept()
                        attempts.append("one")
                        with suppress(OSError), context.wrap_socket(caller, server_side=True):
                            pass
                        caller.close()

            thread = threading.Thread(target=shake_hands, daemon=True)
            thread.start()
            address = f"https://127.0.0.1:{listener.getsockname()[1]}"
            assert send(film, address) == 1
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        assert "certificate is not trusted (self-signed certificate)" in only_line(capsys)
        assert attempts == ["one"]


class TestWhatAnswers:
    """Whatever answers, it becomes one line that a terminal can bear."""

    @pytest.mark.parametrize(
        ("answer", "text", "code"),
        [
            (Answer(404, b"not here", {"content-type": "text/plain"}), "bad-answer: The service answered 404.", 1),
            (Answer(403, b'{"message": "Missing Authentication Token"}'), "ends with its stage", 1),
            (Answer(413, b'{"message": "Request Too Long"}'), "too-large: A gateway", 2),
            (Answer(200, b"welcome", {"content-type": "text/html"}), "bad-answer", 1),
            (Answer(500, b'{"message": null}'), "busy: The service answered 500.", 1),
            (Answer(422, b"[1, 2]"), "bad-answer", 1),
            (problem(422, "x\x1b[2J", "two\nlines \x1b]0;title\x07"), r"two\nlines \x1b]0;title\x07", 2),
        ],
    )
    def test_one_line(
        self, answer: Answer, text: str, code: int, film: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(lambda *_: answer)) as address:
            assert send(film, address) == code
        line = only_line(capsys)
        assert text in line
        assert line.isprintable()
        assert not Path(f"{film}.mask.png").exists()

    def test_packed_answers_are_not_unpacked(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        asked: list[str] = []

        def hook(_: str, __: str, headers: dict[str, str]) -> Answer:
            asked.append(headers["accept-encoding"])
            return Answer(200, gzip.compress(bytes(10**7)), {"content-encoding": "gzip", "x-lung-decision": "accept"})

        with serving(Gateway(hook)) as address:
            assert send(film, address) == 1
        assert "bad-answer: The service's answer is packed" in only_line(capsys)
        assert asked == ["identity"]
        assert not Path(f"{film}.mask.png").exists()

    def test_packed_errors_keep_their_status(self, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        answer = Answer(403, gzip.compress(bytes(10**7)), {"content-encoding": "gzip"})
        with serving(Gateway(lambda *_: answer)) as address:
            assert send(film, address) == 2
        assert "not-authorised: The service answered 403." in only_line(capsys)

    @pytest.mark.parametrize("stated", [True, False], ids=["stated", "chunked"])
    @pytest.mark.parametrize(("status", "code"), [(200, 1), (403, 2)])
    def test_longer_answers_than_any_output_are_cut_off(
        self,
        stated: bool,
        status: int,
        code: int,
        film: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name in ("MAX_OUTPUT_BYTES", "MAX_PROBLEM_BYTES"):
            monkeypatch.setattr(f"lungseg.remote.service.{name}", 10**6)
        headers = {"content-length": "2000000"} if stated else {}
        answer = Answer(status, bytes(2 * 10**6), {"x-lung-decision": "accept"} | headers)
        with serving(Gateway(lambda *_: answer)) as address:
            assert send(film, address) == code
        assert ("longer than 1,000,000 bytes" if code == 1 else "not-authorised") in only_line(capsys)
        assert not Path(f"{film}.mask.png").exists()

    def test_endless_answers_end(self) -> None:
        pieces = iter([bytes(1000)] * 100)
        with pytest.raises(errors.BadAnswer, match="longer than 5,000 bytes"):
            _read_body(httpx2.Response(200, content=pieces), 5000)
        assert len(list(pieces)) > 90

    @pytest.mark.parametrize(
        "document",
        [b"no json", b"[]", b"{}", b'{"id": "../x", "upload": {"url": "http://h/", "fields": {}}}', b'{"id": "1"}'],
    )
    def test_a_job_that_is_none(
        self, document: bytes, tmp_path: Path, rg1: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        large = tmp_path / "large.dcm"
        large.write_bytes(rg1)
        with serving(Gateway(lambda *_: Answer(201, document))) as address:
            assert send(large, address) == 1
        assert "bad-answer" in only_line(capsys)

    def test_presigned_addresses_of_an_encrypted_service_are_encrypted(self) -> None:
        with ServiceClient("https://films.example.org/v1") as service:
            for url in ("http://bucket.example.org/x", "file:///etc/passwd", ""):
                with pytest.raises(errors.BadAnswer):
                    service.download_output(url)

    def test_a_buckets_refusal_is_its_code_alone(
        self, tmp_path: Path, rg1: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        large = tmp_path / "large.dcm"
        large.write_bytes(rg1)
        xml = b"<Error><Code>AccessDenied</Code><Message>Policy expired</Message><Key>jobs/1/film</Key></Error>"
        ticket: dict[str, Any] = {"id": "1" * 32, "upload": {"fields": {"key": "jobs/1/film"}}}

        def hook(_: str, path: str, __: dict[str, str]) -> Answer:
            if path == "/v1/jobs":
                return Answer(201, json.dumps(ticket).encode())
            return Answer(403, xml, {"content-type": "application/xml"})

        with serving(Gateway(hook)) as address:
            ticket["upload"]["url"] = f"{address}/bucket"
            assert send(large, address) == 1
        line = only_line(capsys)
        assert "storage-refused: It answered 403 (AccessDenied)." in line
        assert "jobs/1" not in line


def certificate(folder: Path) -> Path:
    """A certificate that nobody vouches for, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return path


def stack(name: str, **outputs: str) -> None:
    """A stack that has such outputs."""
    body = TEMPLATE | {"Outputs": {key: {"Value": value} for key, value in outputs.items()}}
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))
