"""Clients that trickle, stay silent or do not read do not delay others."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import httpx2
import psutil
from films import dicom
from ledger import WHOLE, Ledger, cases
from numpy.typing import NDArray
from processes import command, wait_for

from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment

TRICKLING, SILENT, NOT_READING = cases(10, 50), cases(60, 500), cases(6, 50)

GOOD = cases(12, 60)
"""Clients that send an image and read the response, two at a time."""

MAX_SLOWDOWN = 3.0
"""95th percentile of their latency with the crowd, relative to that without it."""

ROOM_SECONDS = 0.3
"""Additional seconds: in the default suite, processes of other tests may hold a core for as long."""

MAX_MEBIBYTES = 600

MAX_SHUTDOWN_SECONDS = 30


@contextmanager
def serving() -> Iterator[tuple[tuple[str, int], subprocess.Popen[bytes]]]:
    """Start `serve` as a user does."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with subprocess.Popen(command("serve", "--port", address[1]), stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: process.poll() is not None or _is_ready(address))
            assert process.poll() is None
            yield address, process
        finally:
            if process.poll() is None:
                process.kill()


def _is_ready(address: tuple[str, int]) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{address[1]}/ready").status_code == 200
    except httpx2.HTTPError:
        return False


class Crowd:
    """Bad clients in a thread. Trickling and silent clients reconnect when they are disconnected.

    Clients that do not read get their response computed once, before the others are measured; then it is pending.
    """

    def __init__(self, address: tuple[str, int], image: bytes) -> None:
        head = f"POST /v1/segment?format=npz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n"
        self._address, self._request = address, head.encode() + image
        self._end = threading.Event()
        self.begun = self.unread = 0

    def __enter__(self) -> Crowd:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        wait_for(lambda: self.begun >= TRICKLING + SILENT + NOT_READING and self.unread == NOT_READING)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    async def _run(self) -> None:
        kinds = [self._trickle] * TRICKLING + [self._say_nothing] * SILENT + [self._do_not_read] * NOT_READING
        random.Random(16).shuffle(kinds)
        clients = [asyncio.ensure_future(self._again(kind)) for kind in kinds]
        while not self._end.is_set():
            await asyncio.sleep(0.1)
        for each in clients:
            each.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _again(self, kind: object) -> None:
        while True:
            line = socket.socket()
            line.setblocking(False)
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                await asyncio.get_running_loop().sock_connect(line, self._address)
                self.begun += 1
                await kind(line)  # type: ignore[operator]
            except OSError:
                await asyncio.sleep(1)
            finally:
                line.close()

    async def _trickle(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(line, self._request[:200])
        for byte in self._request[200:]:
            await asyncio.sleep(1)
            await loop.sock_sendall(line, bytes([byte]))

    async def _say_nothing(self, line: socket.socket) -> None:
        await asyncio.get_running_loop().sock_recv(line, 1)

    async def _do_not_read(self, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(line, self._request)
        if await loop.sock_recv(line, 12) != b"HTTP/1.1 200":
            raise ConnectionError  # 503: the queue is full
        self.unread += 1
        await asyncio.Event().wait()


def ask(address: tuple[str, int], image: bytes) -> tuple[float, bytes, int]:
    """Return seconds, response and number of 503s of a client that obeys Retry-After; its waits count."""
    started, refused = time.monotonic(), 0
    while True:
        answer = httpx2.post(f"http://127.0.0.1:{address[1]}/v1/segment", content=image, timeout=60)
        if answer.status_code != 503:
            return time.monotonic() - started, answer.content, refused
        refused += 1
        time.sleep(float(answer.headers["retry-after"]))


def all_good(address: tuple[str, int], image: bytes) -> list[tuple[float, bytes, int]]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda _: ask(address, image), range(GOOD)))


def percentile(times: list[float]) -> float:
    return quantiles(times, n=20)[-1]


def test_bad_clients_do_not_delay_good_ones(
    rg1_pixels: NDArray[object], small: bytes, rg1_png: bytes, ledger: Ledger
) -> None:
    image = rg1_png if WHOLE else small
    large = dicom(rg1_pixels)
    expected = mask_png(segment(image).mask)
    with serving() as (address, process):
        process_info = psutil.Process(process.pid)
        all_good(address, image)
        quiet = all_good(address, image)
        with Crowd(address, large):
            crowded = all_good(address, image)
            peak = _peak(process.pid)
            descriptors = process_info.num_fds()
            if WHOLE:
                ended = seconds_to_end(process)
        if not WHOLE:  # in the default suite without the crowd, which delays it by 15 seconds
            ended = seconds_to_end(process)
    before, beside = (percentile([seconds for seconds, *_ in each]) for each in (quiet, crowded))
    wrong = sum(content != expected for _, content, _ in quiet + crowded)
    ledger.enter(
        16,
        "Slow, silent or non-reading clients do not delay others",
        f"{GOOD} good clients beside {TRICKLING} that trickle, {SILENT} silent and {NOT_READING} that do not read",
        f"{wrong} wrong masks; p95 {1000 * before:.0f} ms without them, {1000 * beside:.0f} ms beside them; "
        f"{sum(refused for *_, refused in crowded)} times 503; peak {peak:.0f} MiB, {descriptors} descriptors; "
        f"SIGTERM ended it in {ended:.0f} s",
    )
    assert wrong == 0
    assert beside <= MAX_SLOWDOWN * before + (0 if WHOLE else ROOM_SECONDS)
    assert peak < MAX_MEBIBYTES
    assert ended < MAX_SHUTDOWN_SECONDS
    assert process.returncode is not None


def seconds_to_end(process: subprocess.Popen[bytes]) -> float:
    """Return how long a process runs after SIGTERM, up to a minute."""
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    return time.monotonic() - started


def _peak(pid: int) -> float:
    """Return the peak memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
