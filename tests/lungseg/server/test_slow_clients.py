"""Slow, silent and disconnected clients of a real server with short limits; and invalid HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from processes import wait_for

from app.main import app
from lungseg import limits
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment
from lungseg.server import intake, protocol
from lungseg.server.quiet import OncePerMinute, log_config

Address = tuple[str, int]


@contextmanager
def running(graceful: int = 1) -> Iterator[tuple[Address, uvicorn.Server]]:
    """Serve the app with the protocol of `serve`; return its address."""
    config = uvicorn.Config(
        app,
        port=0,
        http=protocol.LimitedProtocol,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_keep_alive=protocol.KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=graceful,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, 30)
        yield server.servers[0].sockets[0].getsockname(), server
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def address() -> Iterator[Address]:
    with running() as (address, _):
        yield address


@contextmanager
def sent(address: Address, data: bytes, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """Open a connection and send some bytes."""
    with socket.socket() as line:
        if receive_buffer:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        line.settimeout(20)
        line.connect(address)
        line.sendall(data)
        yield line


def answer(line: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := line.recv(65536):
            data += piece
    return data


def code(data: bytes) -> tuple[int, str]:
    """Return status and code of a problem document."""
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


def post(path: str, *headers: str) -> bytes:
    lines = "".join(f"{each}\r\n" for each in headers)
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode()


@pytest.mark.parametrize("begin", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n\r\n"])
def test_connection_without_a_whole_header_is_closed(
    begin: bytes, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "MAX_HEADER_SECONDS", 0.5)
    with sent(address, begin) as line:
        assert answer(line) == b""


def test_connection_that_trickles_after_an_answer_is_closed(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_HEADER_SECONDS", 0.5)
    with sent(address, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") as line:
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < started + 15:
                line.sendall(b"\r\n")
                time.sleep(0.1)
        assert time.monotonic() < started + 10


def test_connection_is_kept_between_requests(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_HEADER_SECONDS", 0.5)
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=20)) as connection:
        connection.request("GET", "/health")
        connection.getresponse().read()
        first = connection.sock
        time.sleep(3)  # the limits are looked at once a second
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        assert connection.sock is first  # it did not connect again


def test_connection_is_closed_when_no_request_follows(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "KEEP_ALIVE_SECONDS", 0.5)
    with sent(address, b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") as line:
        assert answer(line).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", ["/v1/segment", "/v1/jobs", "/nowhere"])
def test_slow_body_is_rejected(path: str, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_STALL_SECONDS", 0.3)
    monkeypatch.setattr(intake, "MAX_DRAIN_SECONDS", 0.1)
    with sent(address, post(path, "Content-Length: 1000") + b"x") as line:
        assert code(answer(line)) == (408, "request-timeout")


@pytest.mark.parametrize(
    ("path", "expected"), [("/v1/segment", "too-large"), ("/v1/jobs", "body-too-large"), ("/no", "body-too-large")]
)
def test_large_body_is_rejected_on_every_route(
    path: str, expected: str, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_DRAIN_SECONDS", 0.1)
    monkeypatch.setattr(limits, "MAX_BYTES", 100_000)
    # By its length alone, also before a client that asks is told to go on.
    for headers in (["Content-Length: 100001"], ["Content-Length: 100001", "Expect: 100-continue"]):
        with sent(address, post(path, *headers)) as line:
            data = answer(line)
            assert code(data) == (413, expected)
            assert b"100 Continue" not in data
    chunk = b"2000\r\n" + bytes(8192) + b"\r\n"
    with sent(address, post(path, "Transfer-Encoding: chunked") + chunk * 13) as line:
        assert code(answer(line)) == (413, expected)


def test_tiny_chunks_are_rejected(address: Address) -> None:
    with sent(address, post("/v1/segment", "Transfer-Encoding: chunked")) as line:
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                line.sendall(b"1\r\n \r\n" * 10_000)
        with contextlib.suppress(ConnectionError):
            assert code(answer(line)) == (431, "headers-too-large")
    assert httpx2.get(f"http://127.0.0.1:{address[1]}/health").status_code == 200


def test_large_headers_are_rejected(address: Address) -> None:
    with sent(address, b"GET /health HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 70_000 + b"\r\n\r\n") as line:
        assert code(answer(line)) == (431, "headers-too-large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        post("/v1/segment", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        post("/v1/segment", "Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
        post("/v1/segment", "Content-Length: 5", "Content-Length: 6") + b"0\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
    ],
)
def test_ambiguous_length_closes_the_connection(request_bytes: bytes, address: Address) -> None:
    with sent(address, request_bytes + b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n") as line:
        data = answer(line)
    assert code(data) == (400, "bad-request")
    assert data.count(b"\r\n\r\n") == 1
    assert b"nosniff" in data


def test_unread_response_is_aborted(
    address: Address, monkeypatch: pytest.MonkeyPatch, rg1: bytes, small: bytes
) -> None:
    monkeypatch.setattr(protocol, "MAX_WRITE_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "MAX_HEADER_SECONDS", 0.5)
    request = post("/v1/segment?format=npz", f"Content-Length: {len(rg1)}") + rg1
    with sent(address, request, receive_buffer=4096) as line:
        assert line.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(4)
        assert len(answer(line)) < 10**7
    good = httpx2.post(f"http://127.0.0.1:{address[1]}/v1/segment", content=small)
    assert good.content == mask_png(segment(small).mask)


def test_connections_beyond_the_limit_replace_the_oldest_idle_one(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "max_connections", lambda: 8)
    with contextlib.ExitStack() as open_lines:
        lines = [open_lines.enter_context(sent(address, b"")) for _ in range(40)]
        assert httpx2.get(f"http://127.0.0.1:{address[1]}/health").status_code == 200
        assert answer(lines[0]) == b""


def test_connections_are_fewer_than_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    for soft, expected in ((256, 64), (1024, 704), (10**6, 2048), (-1, 2048)):
        monkeypatch.setattr(protocol.resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        assert protocol.max_connections() == expected


def test_shutdown_does_not_wait_for_slow_clients() -> None:
    started = time.monotonic()
    with (
        running(graceful=1) as (address, server),
        sent(address, post("/v1/segment", "Content-Length: 9") + b"x") as line,
    ):
        time.sleep(0.3)
        server.should_exit = True
        assert code(answer(line)) == (503, "overloaded")
    assert time.monotonic() < started + 20


def test_messages_are_logged_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = OncePerMinute()
    records = [logging.LogRecord("a", logging.ERROR, "", 0, "%s", (text,), None) for text in ("x", "x", "y", "x")]
    assert [quiet.filter(each) for each in records] == [True, False, True, False]
    assert all("quiet" in each["filters"] for each in log_config()["handlers"].values())
