"""The local server under overload: correct masks, declared errors, bounded memory.

    make bench-serve                            64 clients for 30 seconds, and the same with 8, and without a limit
    python -m benchmarks.serve --seconds 5      a quick try
    python -m benchmarks.serve --docs           also rewrites the tables of docs/PERFORMANCE.md

Each client sends one image after the other, and waits for Retry-After when it gets a 503. The digest of every mask is
compared with the expected one. The clients run on the same machine and use part of its cores.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from benchmarks import docs, machine, tables

UNLIMITED = {"LUNG_CONCURRENT": "64"}

PATH = "/v1/segment"

LoadRequest = tuple[str, bytes]
"""A path, and the image to post."""

OVERLOADED = "503 overloaded"
"""Rejected images, as `LoadStats` counts them."""


@dataclass
class LoadStats:
    """The responses that the clients got: by status and code, wrong ones, and the seconds of each mask.

    An error is compared like a mask. A 5xx without Retry-After is counted once more.
    """

    answers: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    wrong: int = 0


def main() -> int:
    """Measure, print and save; return exit code 1 if a response was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, metavar="S", help="of each run (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md")
    arguments = parser.parse_args()
    from benchmarks.sample_images import make_image
    from lungseg.server.admission import read_capacity

    sizes = (("1 Mpx JPEG", "JPEG", 1), ("5 Mpx JPEG", "JPEG", 5), ("5 Mpx PNG", "PNG", 5))
    images = {image.name: image.data for image in (make_image(*size) for size in sizes)}
    concurrent, waiting = read_capacity()
    result: dict[str, Any] = {
        "machine": machine.describe_machine(),
        "concurrent": concurrent,
        "waiting": waiting,
        "images": list(images),
        "runs": {
            "8 clients": run(images, 8, arguments.seconds, {}),
            "64 clients": run(images, 64, arguments.seconds, {}),
            "64 clients, no limit": run(images, 64, arguments.seconds, UNLIMITED),
        },
    }
    machine.save_result("serve", result)
    print(tables.serve(result))
    if arguments.docs:
        docs.write()
    limited = [each for name, each in result["runs"].items() if "no limit" not in name]
    bad = [name for each in limited for name in each["answers"] if name not in ("200", OVERLOADED)]
    wrong = sum(each["wrong"] for each in limited)
    print(f"{'FAILED' if bad or wrong else 'ok'}: {wrong} wrong answers; other than masks and declared refusals: {bad}")
    return 1 if bad or wrong else 0


def run(images: dict[str, bytes], clients: int, seconds: float, settings: dict[str, str]) -> dict[str, Any]:
    """Load one server with so many clients for so long."""
    requests = {name: (PATH, image) for name, image in images.items()}
    with serving(settings) as (address, pid):
        expected = asyncio.run(expected_digests(address, requests))
        before = machine.peak_mebibytes(pid)
        started = time.monotonic()
        stats = asyncio.run(load_server(address, requests, expected, clients, seconds))
        took = time.monotonic() - started
        peak = machine.peak_mebibytes(pid)
    times = sorted(stats.seconds)
    return {
        "answers": dict(stats.answers.most_common()),
        "wrong": stats.wrong,
        "images_per_second": round(len(times) / took, 1),
        "seconds_median": round(statistics.median(times), 3),
        "seconds_95": round(times[int(0.95 * len(times))], 3),
        "mebibytes_before": before,
        "mebibytes_at_most": peak,
    }


async def expected_digests(address: str, requests: dict[str, LoadRequest]) -> dict[str, str]:
    """Return the digest of each response by name, from an idle server."""
    async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
        answers = {name: await client.post(path, content=data) for name, (path, data) in requests.items()}
    return {name: digest(answer.raise_for_status().content) for name, answer in answers.items()}


async def load_server(
    address: str, requests: dict[str, LoadRequest], expected: dict[str, str], clients: int, seconds: float
) -> LoadStats:
    """Run all clients at once until the time is over.

    Args:
        expected: digest of each response that is not a 5xx, by the name of the request.
    """
    stats, end = LoadStats(), time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)

    async def one(number: int, client: httpx2.AsyncClient) -> None:
        choose = random.Random(number)
        while time.monotonic() < end:
            name = choose.choice(list(requests))
            path, image = requests[name]
            started = time.monotonic()
            try:
                answer = await client.post(path, content=image)
            except httpx2.RequestError as error:
                stats.answers[type(error).__name__] += 1
                continue
            if answer.status_code == 200:
                stats.answers["200"] += 1
                stats.seconds.append(time.monotonic() - started)
            else:
                stats.answers[f"{answer.status_code} {answer.json().get('code')}"] += 1
            if answer.status_code < 500:
                stats.wrong += digest(answer.content) != expected[name]
            elif "retry-after" in answer.headers:
                wait = float(answer.headers["retry-after"]) * choose.uniform(0.5, 1.5)
                await asyncio.sleep(max(0.0, min(wait, end - time.monotonic())))
            else:
                stats.answers["no Retry-After"] += 1

    async with httpx2.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        await asyncio.gather(*(one(number, client) for number in range(clients)))
    return stats


def digest(data: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


@contextmanager
def serving(settings: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run a server in its own process; yield its address and process id."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    line = [sys.executable, "-m", "lungseg", "serve", "--port", str(port)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(line, cwd=machine.ROOT, env=os.environ | settings, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(address, process)
            yield address, process.pid
        finally:
            process.terminate()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        try:
            httpx2.get(f"{address}/ready").raise_for_status()
        except httpx2.HTTPError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise SystemExit("error: the server does not start")


if __name__ == "__main__":
    raise SystemExit(main())
