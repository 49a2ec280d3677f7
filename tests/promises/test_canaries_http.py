"""Canaries sent over HTTP, to the app, through Lambda and to the local server, appear in no log, metric, response or
problem document.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from buckets import Buckets, Context
from canaries import canary, caught
from canary_images import CanaryImage
from canary_requests import HEADERS, Request, code_of, failures, odd_requests, orders, raising, requests_with_films
from event_shapes import originals
from fastapi.testclient import TestClient
from leak_check import CHANNELS, LeakCheck, some
from ledger import Ledger
from processes import command, wait_for
from starlette.types import Receive, Scope, Send

import serverless
from app import dispatch, response_limit
from app.main import app
from lungseg import errors, limits
from lungseg.server.admission import Admission
from lungseg.server.guard import CrossSiteGuard


def ask(client: TestClient, request: Request, leaks: LeakCheck) -> str | None:
    """Send a request, check the output, and return the error code."""
    answer = client.request(
        request.method, request.path, params=request.query, headers=request.all_headers, content=request.body
    )
    whole = repr((answer.status_code, answer.reason_phrase, dict(answer.headers)))
    leaks.search(request.label, request.placed, whole, answer.content, allowed=request.allowed)
    return code_of(answer.headers.get("content-type", ""), answer.content)


@pytest.fixture
def no_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LUNG_INPUT_BUCKET", "LUNG_OUTPUT_BUCKET"):
        monkeypatch.delenv(name, raising=False)


OVER_HTTP = {
    kind.code
    for kind in errors.every_problem()
    # Errors of local files; of base64 and responses on Lambda; of images in buckets.
    if not issubclass(kind, errors.FileError)
    and kind not in (errors.BadBase64, errors.AnswerTooLarge, errors.NoSuchImage, errors.Archived)
} | {"not-found", "method-not-allowed"}


def test_http_api_leaks_no_canary(
    leaks: LeakCheck,
    images: list[tuple[CanaryImage, str | None]],
    buckets: Buckets,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
) -> None:
    client, image = TestClient(app), images[0][0]
    seen: set[str | None] = set()
    for request in orders():
        seen.add(code := ask(client, request, leaks))
        assert code == "bad-parameter", request.label
    seen.add(ask(client, Request("job", "GET", f"/v1/jobs/{canary('jobId')}"), leaks))
    monkeypatch.setenv("LUNG_OUTPUT_BUCKET", f"nowhere-{canary('bucket').lower()}")
    dispatch.read_bucket_settings.cache_clear()
    seen.add(ask(client, Request("bucket", path="/v1/jobs", headers={"Content-Type": "application/json"}), leaks))
    for name in ("LUNG_INPUT_BUCKET", "LUNG_OUTPUT_BUCKET"):
        monkeypatch.delenv(name)

    for request in (*odd_requests(image), *some(requests_with_films(images), 24, lambda each: each.code)):
        seen.add(code := ask(client, request, leaks))
        assert code == request.code, request.label

    whole = Request("whole", body=image.data, places=image.places)
    full = TestClient(Admission(app, concurrent=1, waiting=-1))
    seen.add(ask(full, whole, leaks))
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_BYTES", 1000)
        seen.add(ask(client, whole, leaks))
    with monkeypatch.context() as patch:
        patch.setattr("lungseg.server.intake.MAX_STALL_SECONDS", 0.01)
        seen.add(ask(TestClient(_silent), whole, leaks))
    seen.add(ask(TestClient(CrossSiteGuard(app, [canary("host")])), whole, leaks))
    for headers in ({"Origin": f"http://{canary('origin')}"}, {"Content-Encoding": canary("encoding")}):
        seen.add(ask(TestClient(CrossSiteGuard(app)), Request("headers", body=image.data, headers=headers), leaks))
    seen.add(ask(client, Request("large job", path="/v1/jobs", body=canary("job").encode() * 5000), leaks))
    for failure in (*failures(), MemoryError(canary("memory"))):
        with monkeypatch.context() as patch:
            patch.setattr("lungseg.server.api.segment", raising(failure))
            seen.add(ask(client, whole, leaks))
    assert seen >= OVER_HTTP
    leaks.enter(ledger, "HTTP", f"{CHANNELS}, response status, headers and bodies")


async def _silent(scope: Scope, _: Receive, send: Send) -> None:
    """Run the app for a client whose body never arrives."""
    await app(scope, asyncio.Event().wait, send)


def events_of(request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a request as API Gateway, a function URL and a load balancer forward it."""
    headers = {name.lower(): value for name, value in request.all_headers.items()}
    several = {name: [value] for name, value in headers.items()}
    query = dict(request.query)
    body = {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}
    for name in ("api_gateway_v1", "function_url", "load_balancer"):
        event = originals()[name] | body
        place = event["requestContext"] | {"requestId": canary("requestId"), "domainName": canary("domain")}
        if name == "function_url":
            place["http"] = place["http"] | {"method": request.method, "path": request.path}
            event |= {"headers": headers, "rawPath": request.path, "rawQueryString": urlencode(request.query)}
        else:
            event |= {"httpMethod": request.method, "path": request.path, "multiValueHeaders": several}
            event |= {"queryStringParameters": query, "stageVariables": {canary("stage"): canary("stageValue")}}
            event |= {"multiValueQueryStringParameters": {key: [value] for key, value in request.query}}
        if name == "api_gateway_v1":
            place["identity"] = {"userAgent": canary("identity"), "sourceIp": canary("sourceIp")}
            event["headers"] = headers
        yield name, event | {"requestContext": place}


def test_lambda_http_event_leaks_no_canary(
    leaks: LeakCheck,
    images: list[tuple[CanaryImage, str | None]],
    no_buckets: None,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
) -> None:
    image = images[0][0]
    for request in (*some(requests_with_films(images), 12), *some(odd_requests(image), 8)):
        for name, event in some(events_of(request), 1):
            assert call(event, request, name, leaks) == request.code, (name, request.label)
    whole = Request("whole", body=image.data, places=image.places)
    for name, event in events_of(whole):
        broken = event | {"body": f"{event['body']}!{canary('base')}"}
        assert call(broken, whole, name, leaks) == "bad-base64"
        assert call(event | {"body": {canary("body"): 1}}, whole, name, leaks) == "malformed-upload"
        odd = {"multiValueHeaders": {canary("odd"): 7}} if "multiValueHeaders" in event else {"headers": canary("odd")}
        assert call(event | odd | {"path": {canary("odd"): 1}}, whole, name, leaks) == "malformed-upload"
        with monkeypatch.context() as patch:
            patch.setattr(response_limit, "MAX_RESPONSE_BYTES", 100)
            assert call(event, whole, name, leaks) == "answer-too-large"
        for failure in failures():
            with monkeypatch.context() as patch:
                patch.setattr("lungseg.server.api.segment", raising(failure))
                assert call(event, whole, name, leaks) in ("internal-error", "model-unavailable")
    leaks.enter(ledger, "Lambda, HTTP events", f"{CHANNELS}, response status, headers and bodies")


def call(event: dict[str, Any], request: Request, name: str, leaks: LeakCheck) -> str | None:
    """Send an event to the handler, check the output, and return the error code."""
    answer = serverless.handler(event, Context())
    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"]
    several = {key: values[0] for key, values in answer.get("multiValueHeaders", {}).items()}
    headers = answer.get("headers", {}) | several
    placed = request.placed | caught(repr({**event, "body": None}))
    leaks.search(f"{name}, {request.label}", placed, repr({**answer, "body": None}), body, allowed=request.allowed)
    return code_of(headers.get("content-type", ""), body)


@contextlib.contextmanager
def server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Start `serve` as a user does; yield its port and process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = command("serve", "--port", port, "--concurrent", 1, "--waiting", 1)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, process.communicate()[0]
            yield port, process
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx2.HTTPError:
        return False


def raw_requests(image: CanaryImage) -> Iterator[bytes]:
    """Yield what no proper client sends: malformed HTTP, an upgrade, and an image whose client disconnects."""
    path, length = f"/v1/segment?{canary('query')}={canary('queryValue')}", len(image.data)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        f"{base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Protocol: {canary('protocol')}\r\n"
    )
    yield f"GET {path} HTTP/1.1\r\nHost: a\r\n{head}{upgrade}\r\n".encode()
    yield f"{canary('method')} {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode()
    yield f"GET {path} HTTP/7.{canary('version')}\r\n\r\n".encode()
    yield f"GET {path}\0{canary('zero')} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode()
    yield f"GET {path} HTTP/1.1\r\n{canary('noColon')}\r\n\r\n".encode()
    yield f"GET {path} HTTP/1.1\r\nHost: a\r\nX: {canary('long') * 20_000}\r\n\r\n".encode()
    yield f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {canary('length')}\r\n\r\n".encode()
    yield f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{canary('chunk')}\r\n".encode()
    yield f"POST /v1/segment HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {2 * length}\r\n\r\n".encode() + image.data


def test_local_server_leaks_no_canary(
    leaks: LeakCheck, images: list[tuple[CanaryImage, str | None]], ledger: Ledger
) -> None:
    image = images[0][0]
    with server() as (port, process):
        placed: set[str] = set()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for request in (*some(requests_with_films(images), 6), *odd_requests(image, jobs="not-found")):
                content = {"params": request.query, "headers": request.all_headers, "content": request.body}
                answer = client.request(request.method, request.path, **content)
                assert code_of(answer.headers.get("content-type", ""), answer.content) == request.code, request.label
                leaks.search(request.label, request.placed, repr(dict(answer.headers)), allowed=request.allowed)
                placed |= request.placed
        for data in raw_requests(image):
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(data)
                line.settimeout(0.2)
                with contextlib.suppress(OSError):
                    leaks.search("raw", caught(data), line.recv(100_000))
                placed |= caught(data)
        time.sleep(0.2)
        process.terminate()
        said = process.communicate(timeout=30)[0]
    assert b"Uvicorn running" in said
    leaks.search("the server's log", placed, said)
    leaks.enter(ledger, "serve", "stdout and stderr, response headers")
