"""`lungseg dicomweb` against servers that fail: what is retried, what ends the run, and what the error says."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from dicomweb_server import Answer, Server, dicomweb_server, radiograph

from lungseg.cli.main import main
from lungseg.dicomweb import archive, session
from lungseg.dicomweb.archive import ImageArchive
from lungseg.dicomweb.errors import DicomwebError
from lungseg.dicomweb.login import Login
from lungseg.dicomweb.results import ResultRecipe
from lungseg.dicomweb.search import StudySearch, find_studies
from lungseg.dicomweb.session import RateLimit, ServerAccess
from lungseg.dicomweb.study_plan import PlanRules, plan_study

ALL = "--all"


def archive_of(server: Server) -> ImageArchive:
    """Return a client of a server."""
    return ImageArchive(ServerAccess(server.url, Login()))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line, which says why the command failed."""
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def certificate(folder: Path, name: str) -> Path:
    """Return a file with a self-signed certificate for 127.0.0.1, and its key."""
    path = folder / f"{name}.pem"
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    what = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    key = folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", *what, *names, "-keyout", key, "-out", path], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def test_retry_after_is_honoured(server: Server, chest: bytes, no_pauses: list[float]) -> None:
    server.store.add(radiograph(chest))
    seen: list[float] = []
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    waits = iter(["1", soon])

    def busy_twice(method: str, path: str) -> Answer | None:
        seen.append(time.monotonic())
        wait = next(waits, None)
        return None if wait is None else Answer(503, b"busy", {"Retry-After": wait})

    server.store.spoil = busy_twice
    assert server.run(ALL, "--dry-run") == 0
    assert seen[1] - seen[0] >= 0.9
    assert no_pauses == []


def test_every_request_is_retried(server: Server, chest: bytes, no_pauses: list[float]) -> None:
    server.store.add(radiograph(chest))
    seen: dict[tuple[str, str], int] = {}

    def fail_each_once(method: str, path: str) -> Answer | None:
        count = seen[method, path] = seen.get((method, path), 0) + 1
        faults = {1: Answer(502), 2: Answer(200, bytes(5000), lost_bytes=1000)}
        return faults.get(count)

    server.store.spoil = fail_each_once
    assert server.run(ALL) == 0
    assert len(server.store.results()) == 1
    assert set(seen.values()) == {3}


def test_truncated_multipart_is_retried(server: Server, chest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that closes early without having announced the length."""
    content = radiograph(chest)
    server.store.add(content)
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"

    def cut(method: str, path: str) -> Answer | None:
        return Answer(200, head + content[:5000], {"Content-Type": kind}) if "/instances/" in path else None

    server.store.spoil = cut
    assert server.run(ALL) == 1
    assert server.store.count("POST", "") == 0


def test_object_without_parts_is_accepted(server: Server, chest: bytes) -> None:
    content = radiograph(chest)
    server.store.add(content)
    plain = Answer(200, content, {"Content-Type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"})
    server.store.spoil = lambda method, path: plain if "/instances/" in path else None
    assert server.run(ALL) == 0
    assert len(server.store.results()) == 1


def test_unreachable_server_is_one_line(capsys: pytest.CaptureFixture[str], no_pauses: list[float]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        code = main(["dicomweb", f"http://127.0.0.1:{unused.getsockname()[1]}/rs", ALL])
    assert code == 1
    assert error_of(capsys).startswith("error: server-unreachable: The connection failed")
    assert no_pauses == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (Answer(401), 2, "access-denied: It returned 401."),
        (Answer(403), 2, "access-denied: It returned 403."),
        (Answer(404), 1, "not-dicomweb: It returned 404: there is no /studies below this URL."),
        (
            Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}),
            1,
            "not-dicomweb: The answer is not JSON.",
        ),
        (Answer(200, b'["a"]'), 1, "not-dicomweb: The answer is not a list of data sets."),
        (
            Answer(302, headers={"Location": "https://login.example.org/"}),
            1,
            "server-refused: It returned 302, a redirect",
        ),
        (Answer(400), 1, "server-refused: It returned 400."),
        (Answer(500), 1, "server-busy: It returned 500."),
        (Answer(503), 1, "server-busy: It returned 503."),
        (Answer(503, headers={"Retry-After": "86400"}), 1, "server-busy: It returned 503."),
    ],
)
def test_error_answer_is_one_line(server: Server, no_pauses: list[float], answer: Answer, code: int, said: str) -> None:
    server.store.spoil = lambda method, path: answer
    with pytest.raises(DicomwebError) as caught:
        list(archive_of(server).find_studies({}))
    assert caught.value.line().startswith(said)
    assert "\n" not in caught.value.line()
    assert (caught.value.status < 500) == (code == 2)
    assert server.url not in caught.value.line()


MALFORMED_HEADERS = (
    b"",
    b"{}",
    b"[]",
    b"[[1]]",
    b"null",
    b"NaN",
    b'[{"00080018": 5, "00080016": "CR"}]',
    b'[{"00080016": {"Value": [{"00080018": null}]}, "00080018": {"Value": [[]]}}]',
    b'[{"00080016": {"Value": ["1.2.840.10008.5.1.4.1.1.1"]}, "00080018": {"Value": ["1/../../2"]}}]',
    b'[{"00080016": {"Value": ["1.2.840.10008.5.1.4.1.1.1"]}, "00280010": {"Value": [1e999]}}]',
    b'[{"00080016": {"Value": ["1.2.840.10008.5.1.4.1.1.1"]}, "00280008": {"Value": ["\xc2\xb2"]}}]',
    b'[{"00400275": ' + b'{"Value": [{"00400275": ' * 40 + b"1" + b"}]}" * 40 + b"}]",
    b"[" * 100_000,
)


def test_malformed_headers_give_no_image(server: Server, chest: bytes) -> None:
    server.store.add(radiograph(chest))
    recipe = ResultRecipe(("dicom-seg",), frozenset(), 0.5)
    (study,) = find_studies(archive_of(server), StudySearch())
    for headers in MALFORMED_HEADERS:
        answer = Answer(200, headers)
        server.store.spoil = lambda method, path, answer=answer: answer if path.endswith("/metadata") else None
        with contextlib.suppress(DicomwebError):
            assert plan_study(archive_of(server), study.uid, recipe, PlanRules()).todo == []


def test_endless_answer_is_cut(
    server: Server, chest: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_DOCUMENT", 100_000)
    server.store.spoil = lambda method, path: Answer(200, bytes(100_001))
    assert server.run(ALL) == 1
    assert error_of(capsys).startswith("error: oversized-answer: It is longer than 100,000 bytes.")


def test_silent_server_times_out(
    server: Server, chest: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_ATTEMPTS", 1)
    server.store.spoil = lambda method, path: Answer(delay=1.5)
    assert server.run(ALL, "--timeout", "1") == 1
    assert error_of(capsys).startswith("error: server-unreachable: The answer timed out.")


def test_run_ends_when_the_server_goes_away(
    server: Server, chest: bytes, capsys: pytest.CaptureFixture[str], no_pauses: list[float]
) -> None:
    server.store.add(*(radiograph(chest, number) for number in range(40)))
    server.store.spoil = lambda method, path: Answer(503) if "/series" in path else None
    assert server.run(ALL) == 1
    assert error_of(capsys).startswith("error: server-busy: It returned 503.")
    assert server.store.count("GET", "/series") < 20 * session.MAX_ATTEMPTS


def test_credentials_are_sent(server: Server, chest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.store.add(radiograph(chest))
    (tmp_path / "login").write_text("user:pass:word\n")
    (tmp_path / "token").write_text("abc.def\n")
    basic, bearer = "Basic dXNlcjpwYXNzOndvcmQ=", "Bearer abc.def"
    for required, arguments, environment in (
        (basic, ("--password-file", tmp_path / "login"), {}),
        (bearer, ("--token-file", tmp_path / "token"), {}),
        (basic, (), {"LUNG_DICOMWEB_USER": "user", "LUNG_DICOMWEB_PASSWORD": "pass:word"}),
        (bearer, (), {"LUNG_DICOMWEB_TOKEN": "abc.def"}),
    ):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            server.store.required = required
            assert server.run(ALL, "--dry-run", *arguments) == 0
    assert server.run(ALL) == 2


def test_token_is_read_again(server: Server, chest: bytes, tmp_path: Path, no_pauses: list[float]) -> None:
    server.store.add(radiograph(chest))
    token = tmp_path / "token"
    token.write_text("first")

    def renew(method: str, path: str) -> Answer | None:
        if token.read_text() == "second":
            return None
        token.write_text("second")
        return Answer(503)

    server.store.spoil = renew
    assert server.run(ALL, "--dry-run", "--token-file", token) == 0
    assert server.store.authorizations[:2] == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("pacs.example.org/rs", "bad-server-url: The URL is not of the form https://HOST/PATH."),
        ("https://user:secret@pacs.example.org/rs", "bad-server-url: The URL contains credentials"),
        ("https://pacs.example.org/rs?key=1", "bad-server-url: The URL has a query or a fragment."),
        ("https://pacs.example.org:port/rs", "bad-server-url: The port or the host of the URL is malformed."),
        ("http://pacs.example.org/rs", "insecure-login: The URL starts with http:// and is not on this machine."),
    ],
)
def test_unusable_url_is_refused_before_anything_is_sent(
    url: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUNG_DICOMWEB_TOKEN", "abc")
    assert main(["dicomweb", url, ALL]) == 2
    line = error_of(capsys)
    assert line.startswith(f"error: {said}")
    assert "secret" not in line


def test_certificates_are_checked_on_both_sides(
    chest: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server_cert, client_cert = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    assert main(["dicomweb", "https://127.0.0.1:9", ALL, "--client-cert", str(tmp_path / "server.key")]) == 2
    assert error_of(capsys).startswith("error: --client-cert and --client-key are no certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_cert)
    context.load_verify_locations(client_cert)
    context.verify_mode = ssl.CERT_REQUIRED
    with dicomweb_server(context) as server:
        server.store.add(radiograph(chest))
        assert server.run(ALL) == 1
        assert error_of(capsys).startswith("error: tls-failed: Its certificate is not trusted (self")
        assert server.run(ALL, "--ca-file", server_cert) == 1
        assert error_of(capsys).startswith(("error: tls-failed: ", "error: server-unreachable: "))
        assert server.store.requests == []
        assert server.run(ALL, "--ca-file", server_cert, "--client-cert", client_cert) == 0
    assert len(server.store.results()) == 1


def test_proxy_is_not_used_for_this_machine(
    server: Server, chest: bytes, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.store.add(radiograph(chest))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert server.run(ALL, "--dry-run") == 0
    assert no_pauses == []


def test_netrc_is_ignored(server: Server, chest: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.store.add(radiograph(chest))
    assert server.run(ALL, "--dry-run") == 0
    assert set(server.store.authorizations) == {""}


def test_requests_of_all_threads_share_the_rate() -> None:
    rate = RateLimit(50)
    started = time.monotonic()
    delays: list[float] = []
    threads = [threading.Thread(target=lambda: delays.append(rate.reserve())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.monotonic() - started
    assert 19 / 50 - spent <= max(delays) <= 19 / 50
    assert RateLimit(None).reserve() == RateLimit(None).reserve() == 0


def test_credentials_are_not_shown() -> None:
    assert "secret" not in repr(Login("user", "secret", "secret"))
