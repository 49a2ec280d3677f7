"""API keys, tokens, SigV4 signatures, and AWS configuration of `remote`."""

from __future__ import annotations

import hashlib
import hmac
from functools import reduce
from pathlib import Path
from urllib.parse import quote

import boto3
import httpx2
import pytest
from buckets import Buckets
from processes import only_line
from remote_command import send_image
from services import Answer, Gateway, keyed, serving
from stacks import create_stack

from lungseg.cli.main import main
from lungseg.remote.credentials import Credentials

KEY = "a-key-of-the-tests"


class TestCredentials:
    def test_api_key_from_environment_or_argument(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway(keyed(KEY))) as address:
            assert send_image(image, address) == 2
            assert "not-authorised" in only_line(capsys)
            assert send_image(image, address, "--api-key", KEY) == 0
            monkeypatch.setenv("LUNG_API_KEY", KEY)
            assert send_image(image, address) == 0
            capsys.readouterr()
            assert send_image(image, address, "--api-key", "wrong-one") == 2
            assert "wrong-one" not in only_line(capsys)

    def test_bearer_token(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def hook(_: str, __: str, headers: dict[str, str]) -> Answer | None:
            return None if headers.get("authorization") == "Bearer abc" else Answer(401, b'{"message": "Unauthorized"}')

        with serving(Gateway(hook)) as address:
            assert send_image(image, address) == 2
            assert "(Unauthorized)" in only_line(capsys)
            monkeypatch.setenv("LUNG_TOKEN", "abc")
            assert send_image(image, address) == 0
            capsys.readouterr()
            assert send_image(image, address, "--sign") == 2
            assert "--sign" in only_line(capsys)

    def test_credentials_are_not_sent_unencrypted(self, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert send_image(image, "http://films.example.org/v1", "--api-key", KEY) == 2
        line = only_line(capsys)
        assert "insecure-address" in line
        assert KEY not in line

    def test_key_with_line_break_is_rejected(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("LUNG_API_KEY", f"{KEY}\n")
        assert send_image(image, "http://127.0.0.1:9") == 2
        assert "line break" in only_line(capsys)

    def test_address_and_key_from_stack(
        self, image: Path, buckets: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gateway = boto3.client("apigateway")
        key = gateway.create_api_key(name="images", enabled=True, value="k" * 30)
        with serving(Gateway(keyed("k" * 30))) as address:
            create_stack("lungs", ApiUrl=address, ApiKeyId=key["id"])
            assert main(["remote", "segment", str(image), "--stack", "lungs"]) == 0
            assert "k" * 30 not in capsys.readouterr().err
            assert main(["remote", "segment", str(image), "--stack", "no-such"]) == 2
            assert "DescribeStacks returned ValidationError" in only_line(capsys)
            create_stack("empty", Other="x")
            assert main(["remote", "segment", str(image), "--stack", "empty"]) == 2
            assert "no output ApiUrl" in only_line(capsys)

    def test_unusable_aws_configuration_is_one_line(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
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
            assert main(["remote", "segment", str(image), "--stack", "lungs"]) == 2
            assert text in only_line(capsys)


class TestSignature:
    """Recomputed from https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html."""

    SECRET = "secret-of-the-tests"

    def verify(self, method: str, path: str, headers: dict[str, str], body_digest: str, region: str) -> bool:
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

    def test_signature_covers_the_request(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
        gateway = Gateway()
        with serving(gateway) as address:
            assert send_image(image, address, "--sign", "--region", "eu-west-1", "--threshold", "0.25") == 0
        ((method, path, headers),) = gateway.seen
        assert headers["x-amz-security-token"] == "session"
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
        assert self.verify(method, path, headers, digest, "eu-west-1")
        assert not self.verify(method, path, headers, "0" * 64, "eu-west-1")
        assert self.SECRET not in capsys.readouterr().err

    def test_region_from_host_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", self.SECRET)
        base = httpx2.URL("https://abc123.execute-api.eu-north-1.amazonaws.com/v1")
        auth = Credentials(sign=True).http_auth(base)
        assert auth is not None
        request = next(auth.sync_auth_flow(httpx2.Request("GET", f"{base}/v1/model")))
        assert "/eu-north-1/execute-api/" in request.headers["Authorization"]
