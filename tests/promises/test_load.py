"""64 clients overload the local server: correct responses, declared errors, bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest
from films import dicom, encode, png, tiff
from ledger import Ledger, cases
from objects import films as make_films
from objects import pixels_of, poison
from PIL import Image
from processes import smaller

from benchmarks import machine
from benchmarks.serve import OVERLOADED, PATH, LoadRequest, LoadStats, digest, expected_digests, load_server, serving
from lungseg.encode.formats import FORMATS
from lungseg.errors import ProblemError
from lungseg.pipeline.segment import segment
from lungseg.server import problems

CLIENTS = 64
SECONDS = cases(3, 300)

ROOM = 256
"""MiB beyond those after each image alone: two full-size images in progress, eight queued; 7 MB, 30 MiB decoded."""

FORMS = ("mask", "labels", "contours", "rle")
"""Output formats without timings."""


@pytest.fixture(scope="module")
def films(rg1: bytes, rg1_png: bytes) -> dict[str, bytes]:
    """Return RG1 at full size, and at small sizes in every format, and files that are not images."""
    pixels = pixels_of(smaller(rg1_png, 150))
    deep, image = pixels.astype(np.uint16) * 257, Image.fromarray(pixels)
    others = [png(deep), tiff(deep, compression="deflate"), dicom(deep), encode(image, "BMP"), encode(image, "WEBP")]
    bad = [film for film, _ in poison(smaller(rg1_png, 128))[:4]]
    return {str(number): film for number, film in enumerate([rg1, *make_films(rg1_png)[:12], *others, *bad])}


def expected(film: bytes, form: str) -> bytes:
    """Return the output of the pipeline in this process, or the problem document."""
    try:
        return FORMATS[form].encode(segment(film))
    except ProblemError as refusal:
        return bytes(problems.problem_response(refusal.problem(), {}).body)


def run(work: Coroutine[Any, Any, LoadStats | dict[str, str]]) -> Any:
    """Run in a thread with its own event loop: this thread's belongs to Mangum."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def test_64_clients_get_correct_response_or_retry_after(films: dict[str, bytes], ledger: Ledger) -> None:
    asks: dict[str, LoadRequest] = {}
    digests: dict[str, str] = {}
    for number, (name, film) in enumerate(films.items()):
        form = FORMS[number % len(FORMS)]
        asks[name] = f"{PATH}?format={form}", film
        digests[name] = digest(expected(film, form))
    good = {name: asks[name] for name in list(asks)[:-4]}
    with serving({}) as (address, server):
        alone = run(expected_digests(address, good))
        before = machine.peak_mebibytes(server)
        seen = run(load_server(address, asks, digests, CLIENTS, SECONDS))
        peak = machine.peak_mebibytes(server)
        after = run(expected_digests(address, good))
        health = httpx2.get(f"{address}/health").status_code
    turned_away = seen.answers[OVERLOADED]
    answered = sum(count for name, count in seen.answers.items() if name[0] in "24")
    others = {name: count for name, count in seen.answers.items() if name[0] not in "24" and name != OVERLOADED}
    ledger.enter(
        6,
        "64 clients get correct responses, or a 503 with Retry-After",
        f"{answered:,} answers of {len(asks)} kinds and {turned_away:,} declared 503s in {SECONDS} s",
        f"{seen.wrong} wrong, {sum(others.values())} undeclared {sorted(others) or ''}; memory {before:.0f} MiB after "
        f"each image alone, {peak:.0f} MiB at most",
    )
    assert seen.wrong == 0
    assert others == {}
    assert answered > cases(10, 10 * CLIENTS)
    assert turned_away > 0
    assert peak < before + ROOM
    assert alone == after == {name: digests[name] for name in good}
    assert health == 200
