"""Base URLs, presigned URLs, proxies, redirects and certificates of `remote`."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from processes import only_line
from remote_command import send_image
from services import Answer, Gateway, keyed, serving

from lungseg.remote import errors
from lungseg.remote.service import ServiceClient

KEY = "a-key-of-the-tests"


class TestAddress:
    @pytest.mark.parametrize(
        "url",
        [
            "image.dcm",
            "ftp://h/",
            "https://",
            "https://u:p@h/",
            "https://h/?a=b",
            "http://[",
            "http://a b/",
            "http://h:99999/",
        ],
    )
    def test_invalid_address_is_rejected(self, url: str, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert send_image(image, url) == 2
        assert "bad-address" in only_line(capsys)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_redirect_is_not_followed(self, status: int, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        elsewhere = Gateway()
        with serving(elsewhere) as other:
            there = {"location": f"{other}/v1/segment"}
            with serving(Gateway(lambda *_: Answer(status, headers=there))) as address:
                assert send_image(image, address, "--api-key", KEY) == 1
        assert "not followed" in only_line(capsys)
        assert not elsewhere.seen

    def test_untrusted_certificate_is_not_retried(
        self, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        attempts: list[str] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(write_certificate(tmp_path))
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
            assert send_image(image, address) == 1
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        assert "certificate is not trusted (self-signed certificate)" in only_line(capsys)
        assert attempts == ["one"]


class TestProxy:
    @pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
    def test_local_service_bypasses_proxy(self, name: str, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for each in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(each, raising=False)
        with serving(Gateway(lambda *_: Answer(200))) as proxy, serving(Gateway(keyed(KEY))) as address:
            monkeypatch.setenv(name, proxy)
            assert send_image(image, address, "--api-key", KEY) == 0
            monkeypatch.setenv(name, "socks7://nowhere")
            assert send_image(image, address.replace("127.0.0.1", "localhost"), "--api-key", KEY) == 0

    def test_unusable_proxy_is_one_line(
        self, image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "nothing://name:secret@proxy")
        assert send_image(image, "https://service.example.org") == 2
        line = only_line(capsys)
        assert "bad-address: The proxy" in line
        assert "secret" not in line


class TestPresignedUrl:
    def test_local_presigned_url_bypasses_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(Gateway(lambda *_: Answer(200, b"mask"))) as address:
            monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
            with ServiceClient("http://service.example.org") as service:
                assert service.download_output(f"{address}/bucket") == b"mask"

    def test_local_service_cannot_redirect_upload_to_plain_http(self) -> None:
        with ServiceClient("http://127.0.0.1:8000") as service, pytest.raises(errors.BadAnswer, match="https://"):
            service.download_output("http://bucket.example.org/x")

    def test_https_service_needs_https_presigned_url(self) -> None:
        with ServiceClient("https://films.example.org/v1") as service:
            for url in ("http://bucket.example.org/x", "file:///etc/passwd", ""):
                with pytest.raises(errors.BadAnswer):
                    service.download_output(url)


def write_certificate(folder: Path) -> Path:
    """Write a self-signed certificate with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    unencrypted = serialization.NoEncryption()
    path = folder / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted)
    )
    return path
