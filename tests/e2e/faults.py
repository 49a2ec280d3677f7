"""A reverse proxy that makes S3 fail as it does on a bad day, and counts it."""

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
"""Headers of one connection, which go no further."""


class Faults:
    """What the proxy does, and what it did.

    Attributes:
        url: its address.
        counts: "requests", "slow_downs" (answered with 503, not passed on) and "lost" (done, but the answer was lost).
        outages: by path (/bucket/key, not escaped) how many of the next requests are answered with 503: where they are
            more than a client tries, the image fails. Proxies may share it.
        after: called with method, path and status when a request was done, before its answer goes out.
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
        """What becomes of a request: "slow_downs", "lost" or "passed"."""
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
def faults(target: str, seed: int, slow_downs: float = 0.05, lost: float = 0.0) -> Iterator[Faults]:
    """A proxy in front of an S3 server.

    Args:
        target: the server's URL.
        seed: the same one gives the same fates, in the order of the requests.
        slow_downs: share of requests that are answered with 503.
        lost: share of requests that are done, and whose connection breaks before the answer.
    """
    plan = Faults(target, seed, slow_downs, lost)
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
    # Kept-alive connections of boto3 would otherwise hold the end up.
    daemon_threads = True
    block_on_close = False
    plan: Faults

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed breaks its connections off; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        plan = cast(_Proxy, self.server).plan
        # Read even where it is refused, or the client finds its connection reset instead of an answer.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fate = plan.fate(unquote(urlsplit(self.path).path))
        if fate == "slow_downs":
            self._answer(503, [("Content-Type", "application/xml")], SLOW_DOWN)
            return
        connection = http.client.HTTPConnection(plan.target, timeout=60)
        try:
            # The Host header too stays the client's: its signature covers it.
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
        """Say nothing."""
