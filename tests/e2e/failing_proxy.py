"""A reverse proxy that makes S3 fail as on a bad day, and counts the failures."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import unquote, urlsplit

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"
    b"<RequestId>4442587FB7D0A2F9</RequestId><HostId>none</HostId></Error>"
)

HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection"}
"""Hop-by-hop headers, which are not forwarded."""


class FailingProxy:
    """The proxy's plan and counts.

    Attributes:
        url: its address.
        counts: "requests", "slow_downs" (503, not forwarded) and "lost" (executed, but the response was lost).
        outages: by path (/bucket/key, not escaped), how many of the next requests get 503. If a client tries fewer
            times, the image fails. Proxies may share it.
        after: called with method, path and status after each request, before the response is sent.
    """

    def __init__(self, target: str, seed: int, slow_downs: float, lost: float) -> None:
        self.url = ""
        self.counts: Counter[str] = Counter()
        self.outages: Counter[str] = Counter()
        self.after: Callable[[str, str, int], None] = lambda method, path, status: None
        self.target = urlsplit(target).netloc
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._slow_downs, self._lost = slow_downs, lost

    def fate(self, path: str) -> str:
        """Decide about a request: "slow_downs", "lost" or "passed"."""
        with self._lock:
            self.counts["requests"] += 1
            chance = self._random.random()
            if self.outages[path] > 0:
                self.outages[path] -= 1
                fate = "slow_downs"
            elif chance < self._slow_downs:
                fate = "slow_downs"
            else:
                fate = "lost" if chance < self._slow_downs + self._lost else "passed"
            self.counts[fate] += 1
            return fate


@contextlib.contextmanager
def failing_proxy(target: str, seed: int, slow_downs: float = 0.05, lost: float = 0.0) -> Iterator[FailingProxy]:
    """Start a proxy in front of an S3 server.

    Args:
        target: the server's URL.
        seed: the same seed gives the same failures, in the order of requests.
        slow_downs: fraction of requests that get 503.
        lost: fraction of requests that are executed, but whose connection breaks before the response.
    """
    plan = FailingProxy(target, seed, slow_downs, lost)
    with _Proxy(("127.0.0.1", 0), _Handler) as proxy:
        proxy.plan = plan
        plan.url = f"http://127.0.0.1:{proxy.server_address[1]}"
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield plan
        finally:
            proxy.shutdown()
            thread.join()


class _Proxy(ThreadingHTTPServer):
    # Otherwise boto3's kept-alive connections delay the shutdown.
    daemon_threads = True
    block_on_close = False
    plan: FailingProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors: a killed client breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        plan = cast(_Proxy, self.server).plan
        # Read the body even for a 503, or the client sees a connection reset instead.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fate = plan.fate(unquote(urlsplit(self.path).path))
        if fate == "slow_downs":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        connection = http.client.HTTPConnection(plan.target, timeout=60)
        try:
            # The signature covers the client's Host header, so keep it.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        plan.after(self.command, unquote(urlsplit(self.path).path), answer.status)
        if fate == "lost":
            self.close_connection = True
            return
        self._answer(answer.status, answer.getheaders(), content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on  # noqa: N815 - names of http.server

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        bodiless = self.command == "HEAD" or status in (204, 304)
        for name, value in headers:
            if name.lower() not in HOP and (name.lower() != "content-length" or bodiless):
                self.send_header(name, value)
        if not bodiless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - name of http.server
        """Log nothing."""
