"""Lambda's Invoke, which moto lacks, served by the real handler behind the runtime interface.

moto's Step Functions calls other services at http://localhost:MOTO_PORT. This server listens there, handles Invoke, and
forwards everything else to moto.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from runtime import FunctionError, Runtime

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
"""Hop-by-hop headers, which are not forwarded."""


class Invocations:
    """Functions that share the invocations of one name.

    Attributes:
        calls: each event with its response, in order of completion.
        failures: what functions raised.
        throttles: how many of the next invocations are throttled.
    """

    def __init__(self, arn: str, moto: int, functions: list[Runtime], throttles: int = 0) -> None:
        self.calls: list[tuple[Any, Any]] = []
        self.failures: list[str] = []
        self.throttles, self.moto, self._arn = throttles, moto, arn
        self._idle: queue.Queue[Runtime] = queue.Queue()
        self._lock = threading.Lock()
        for function in functions:
            self._idle.put(function)

    def invoke(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of Invoke's response."""
        assert unquote(path.split("/")[3]) == self._arn, path
        with self._lock:
            refused = self.throttles > 0
            self.throttles -= refused
        if refused:
            # moto's Step Functions fails on an error without a request id.
            named = {"x-amzn-errortype": "TooManyRequestsException", "x-amzn-RequestId": str(uuid.uuid4())}
            return 429, named, b'{"Message": "Rate Exceeded."}'
        event = json.loads(body)
        function = self._idle.get()
        try:
            answer = function.invoke(event)
        except FunctionError as error:
            kind, _, text = str(error).partition(": ")
            kind = "Runtime.ExitError" if kind == "the runtime died" else kind  # Lambda's name for it
            self.failures.append(f"{kind}: {text}")
            told = json.dumps({"errorType": kind, "errorMessage": text}).encode()
            return 200, {"X-Amz-Function-Error": "Unhandled"}, told
        finally:
            self._idle.put(function)
        with self._lock:
            self.calls.append((event, answer))
        return 200, {}, json.dumps(answer).encode()


@contextlib.contextmanager
def answering(port: int, invocations: Invocations) -> Iterator[None]:
    """Run the server during the ``with`` block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.startswith("/2015-03-31/functions/"):
                status, headers, content = invocations.invoke(self.path, body)
            else:
                status, headers, content = self.passed_on(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815

        def passed_on(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", invocations.moto, timeout=60)
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
                return answer.status, kept, answer.read()
            finally:
                connection.close()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
