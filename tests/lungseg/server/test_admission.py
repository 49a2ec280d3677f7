"""The server limits concurrent and queued images, and rejects the rest with Retry-After."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from ports import free_ports
from processes import command, wait_for

from lungseg.encode.png import mask_png
from lungseg.errors import ModelError
from lungseg.pipeline.segment import segment
from lungseg.server import admission, intake
from lungseg.server.admission import Admission
from lungseg.server.intake import SEGMENT_PATH

Message = dict[str, Any]


class Request:
    """One ASGI request whose body the test sends piece by piece."""

    def __init__(self, guarded: Admission, path: str = SEGMENT_PATH, method: str = "POST", **headers: str) -> None:
        self.asked = 0
        self.sent: list[Message] = []
        self.body: asyncio.Queue[Message] = asyncio.Queue()
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs}
        self.task = asyncio.ensure_future(guarded(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        self.asked += 1
        return await self.body.get()

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    def chunk(self, more: bool = False) -> None:
        """Let some of the body arrive; the last of it unless ``more``."""
        self.body.put_nowait({"type": "http.request", "body": b"film", "more_body": more})

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}


class App:
    """An app that reads an image, works until the test ends it, and responds."""

    def __init__(self) -> None:
        self.working = self.most = 0
        self.mask = b"mask"
        self.ends: asyncio.Queue[type[Exception] | None] = asyncio.Queue()

    async def __call__(self, scope: Message, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["path"] != SEGMENT_PATH:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        self.working += 1
        self.most = max(self.most, self.working)
        try:
            error = await self.ends.get()
        finally:
            self.working -= 1
        if error is not None:
            raise error
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": self.mask, "more_body": False})


def drive(course: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in its own loop; `asyncio.run` would remove the one that Mangum keeps in this process."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(course)
        loop.run_until_complete(settle())
    finally:
        loop.close()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def ended(*requests: Request) -> AsyncIterator[None]:
    try:
        yield
    finally:
        for each in requests:
            each.task.cancel()


def test_excess_request_is_rejected_unread() -> None:
    async def course() -> None:
        guarded = Admission(App(), concurrent=1, waiting=1)
        let_in = [Request(guarded), Request(guarded)]
        for each in let_in:
            each.chunk()
        await settle()
        late = Request(guarded)
        async with ended(*let_in, late):
            await settle()
            assert (late.status, late.sent[0]["type"]) == (503, "http.response.start")
            assert late.asked == 1  # and only after the answer: what it throws away
            document = json.loads(late.sent[1]["body"])
            assert (document["status"], document["code"]) == (503, "overloaded")
            assert late.headers["content-type"] == "application/problem+json"
            assert int(late.headers["retry-after"]) >= 1
            late.chunk(more=True)
            late.chunk()
            await late.task
            assert late.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
            assert all(each.status is None for each in let_in)

    drive(course())


def test_expect_100_gets_no_100_when_rejected() -> None:
    async def course() -> None:
        guarded = Admission(App(), concurrent=1, waiting=0)
        first = Request(guarded)
        first.chunk()
        await settle()
        second = Request(guarded, expect="100-continue")
        async with ended(first):
            await second.task
            assert (second.status, second.asked, second.headers["connection"]) == (503, 0, "close")

    drive(course())


def test_endless_rejected_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "MAX_DRAIN_SECONDS", 0.05)

    async def course() -> None:
        guarded = Admission(App(), concurrent=1, waiting=0)
        first = Request(guarded)
        first.chunk()
        await settle()
        second = Request(guarded)
        second.chunk(more=True)
        async with ended(first):
            await asyncio.wait_for(second.task, 5)
            assert second.status == 503

    drive(course())


def test_concurrency_is_limited_and_the_rest_queued() -> None:
    async def course() -> None:
        app = App()
        guarded = Admission(app, concurrent=2, waiting=3)
        requests = [Request(guarded) for _ in range(5)]
        async with ended(*requests):
            for each in requests:
                each.chunk(more=True)
                each.chunk()
            for done in range(5):
                await settle()
                assert app.working == min(2, 5 - done)
                app.ends.put_nowait(None)
            await asyncio.gather(*(each.task for each in requests))
            assert app.most == 2
            assert [each.status for each in requests] == [200] * 5

    drive(course())


def test_slow_upload_occupies_no_core() -> None:
    async def course() -> None:
        app = App()
        guarded = Admission(app, concurrent=1, waiting=1)
        slow, quick = Request(guarded), Request(guarded)
        async with ended(slow, quick):
            slow.chunk(more=True)
            quick.chunk()
            app.ends.put_nowait(None)
            await quick.task
            assert (quick.status, slow.status) == (200, None)

    drive(course())


def test_retry_after_grows_with_rejections() -> None:
    async def course() -> None:
        guarded = Admission(App(), concurrent=1, waiting=0)
        first = Request(guarded)
        first.chunk()
        await settle()
        late = [Request(guarded, expect="100-continue") for _ in range(1200)]
        async with ended(first):
            await asyncio.gather(*(each.task for each in late))
            waits = [int(each.headers["retry-after"]) for each in late]
            assert waits == sorted(waits)
            assert (waits[0], waits[-1]) == (1, admission.MAX_REJECTED_SECONDS + 1)

    drive(course())


@pytest.mark.parametrize("way", ["fails", "leaves", "is cancelled"])
def test_slot_is_released_however_a_request_ends(way: str) -> None:
    async def course() -> None:
        app = App()
        guarded = Admission(app, concurrent=1, waiting=0)
        for _ in range(3):
            request = Request(guarded)
            await settle()
            if way == "is cancelled":
                request.task.cancel()
            elif way == "leaves":
                request.body.put_nowait({"type": "http.disconnect"})
                app.ends.put_nowait(None)
            else:
                request.chunk()
                app.ends.put_nowait(ValueError)
            await asyncio.gather(request.task, return_exceptions=True)
            assert request.status != 503
        last = Request(guarded)
        last.chunk()
        app.ends.put_nowait(None)
        await last.task
        assert last.status == 200

    drive(course())


def test_other_routes_respond_when_the_queue_is_full() -> None:
    async def course() -> None:
        guarded = Admission(App(), concurrent=1, waiting=0)
        film = Request(guarded)
        film.chunk()
        await settle()
        async with ended(film):
            for path, method in (("/health", "GET"), ("/v1/jobs", "POST")):
                other = Request(guarded, path, method)
                await other.task
                assert other.status == 200

    drive(course())


def test_capacity_settings_are_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_CONCURRENT", "3")
    assert admission.read_capacity() == (3, 12)
    monkeypatch.setenv("LUNG_WAITING", "0")
    assert admission.read_capacity() == (3, 0)
    for name, wrong in (("LUNG_CONCURRENT", "0"), ("LUNG_CONCURRENT", "many"), ("LUNG_WAITING", "-1")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(name, wrong)
            with pytest.raises(ModelError, match=name):
                admission.read_capacity()


def test_lambda_has_no_admission_control() -> None:
    imports = "from lungseg.server.api import create_app"
    program = f"{imports}; print([each.cls.__name__ for each in create_app().user_middleware])"
    for name, there in (("AWS_LAMBDA_FUNCTION_NAME", False), ("OTHER", True)):
        environment = os.environ | {name: "function"}
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
        )
        assert ("Admission" in run.stdout) == there


def test_full_server_gives_correct_masks_or_503(small: bytes) -> None:
    """Twelve clients, one core and one queue slot: each response is the mask, or a 503 with Retry-After."""
    (port,) = free_ports(1)
    line = command("serve", "--port", port, "--concurrent", 1, "--waiting", 1)
    large = small + bytes(4_000_000)  # a PNG ends where it says, and these bytes have to be sent all the same

    def send(number: int) -> tuple[int, bytes, str | None]:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request("POST", "/v1/segment", large if number % 2 else small)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("retry-after")

    with subprocess.Popen(line, env=os.environ | {"LUNG_THREADS": "1"}, stderr=subprocess.PIPE) as server:
        try:
            wait_for(lambda: _answers(port))
            with ThreadPoolExecutor(12) as pool:
                answers = list(pool.map(send, range(36)))
            assert _answers(port)
        finally:
            server.terminate()
            server.communicate()
    expected = mask_png(segment(small).mask)
    assert {status for status, _, _ in answers} == {200, 503}
    assert all(body == expected for status, body, _ in answers if status == 200)
    refusals = [(json.loads(body)["code"], after) for status, body, after in answers if status == 503]
    assert {code for code, _ in refusals} == {"overloaded"}
    assert all(after is not None and int(after) >= 1 for _, after in refusals)


def _answers(port: int) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
