"""The real service on a port, behind a gateway, failures or a breaking connection."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from buckets import Buckets
from processes import wait_for
from starlette.types import ASGIApp, Receive, Scope, Send

from app.main import app


@contextmanager
def serving(asgi: ASGIApp = app) -> Iterator[str]:
    """Serve an application over HTTP; yield its address."""
    server = uvicorn.Server(uvicorn.Config(asgi, port=0, log_config=None, lifespan="off", server_header=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, 30)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


Hook = Callable[[str, str, dict[str, str]], "Answer | None"]


@dataclass
class Answer:
    """A response of the gateway itself."""

    status: int
    body: bytes = b'{"message": "Forbidden"}'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Gateway:
    """A gateway in front of the service: a hook gets method, path and headers of each request, and may respond.

    Attributes:
        seen: the requests, in order.
    """

    hook: Hook = lambda *_: None
    behind: ASGIApp = app
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        request = (scope["method"], scope["path"] + query, headers)
        self.seen.append(request)
        answer = self.hook(*request)
        if answer is None:
            await self.behind(scope, receive, send)
            return
        await _drain(receive)
        sent = {"content-type": "application/json"} | answer.headers
        raw = [(name.encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})


async def _drain(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive()).get("more_body"):
        pass


def problem(status: int, code: str, detail: str = "What was found.") -> Answer:
    """Return a problem document as the service sends it."""
    document = {"code": code, "detail": detail, "title": "Title", "remedy": "What to do.", "status": status}
    return Answer(status, json.dumps(document).encode(), {"content-type": "application/problem+json"})


def keyed(key: str = "a-key-of-the-tests") -> Hook:
    """Act as API Gateway with a usage plan: every path but /health requires a key."""

    def hook(_: str, path: str, headers: dict[str, str]) -> Answer | None:
        return None if path == "/health" or headers.get("x-api-key") == key else Answer(403)

    return hook


def worker(buckets: Buckets, looks: int = 0) -> Hook:
    """Run the batch function on an image once its job has been requested a number of times."""
    left = looks

    def hook(method: str, path: str, _: dict[str, str]) -> None:
        nonlocal left
        if method == "GET" and path.startswith("/v1/jobs/") and not path.endswith("0" * 32):
            left -= 1
            if left == -1:
                with contextlib.redirect_stdout(io.StringIO()):  # the function prints its metrics
                    buckets.do(f"jobs/{path.rpartition('/')[2]}/film")

    return hook


def both(*hooks: Hook) -> Hook:
    """Return the response of the first hook that has one."""
    return lambda *request: next(filter(None, (hook(*request) for hook in hooks)), None)


def first(*answers: Answer) -> Hook:
    """Respond to the first requests like this; pass the others to the service."""
    left = list(answers)
    return lambda *_: left.pop(0) if left else None


@dataclass
class Line:
    """A TCP proxy that can drop connections, and records what is sent.

    Attributes:
        address: where it listens.
        breaks: number of connections to drop before a response.
        heard: all bytes sent to the server.
    """

    address: str
    breaks: int = 0
    heard: bytearray = field(default_factory=bytearray)


@contextmanager
def line_to(address: str, breaks: int = 0) -> Iterator[Line]:
    """Start a proxy in front of a server."""
    listener = socket.create_server(("127.0.0.1", 0))
    line = Line(f"http://127.0.0.1:{listener.getsockname()[1]}", breaks)
    host, _, port = address.removeprefix("http://").partition(":")
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, target: socket.socket, ear: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if ear is not None:
                    ear.extend(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def accept() -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            if line.breaks:
                line.breaks -= 1
                caller.recv(1000)
                caller.close()
                continue
            server = socket.create_connection((host, int(port)))
            for pair in ((caller, server, line.heard), (server, caller, None)):
                threads.append(threading.Thread(target=pump, args=pair, daemon=True))
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield line
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for thread in threads:
            thread.join(5)
