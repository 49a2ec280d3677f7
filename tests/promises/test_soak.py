"""Over thousands of images, a process does not grow, slow down or change its responses."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import pytest
from films import dicom, encode, png, tiff
from ledger import WHOLE, Ledger, cases
from objects import films as make_films
from objects import pixels_of, poison
from PIL import Image
from processes import smaller
from soak_worker import SAMPLE, Measured, serve

FILMS = cases(240, 20_000)

WARM_UP = cases(80, 2_000)
"""Images after which allocators have filled their pools, and hold the pages of the largest image."""

SLOPE = cases(64, 1) * 1024
"""Bytes per image. Few images show only large leaks: a leaked image has its pixels and two maps of 1 MiB."""

ROUNDS = 20
"""Turns of the old and the new process; each turn is every image once through each entry point."""


@pytest.fixture(scope="module")
def films(rg1_png: bytes) -> list[bytes]:
    """Return RG1 at small sizes in every format, at 8 and 16 bits, and two files that are not images."""
    pixels = pixels_of(smaller(rg1_png, 150))
    deep, image = pixels.astype(np.uint16) * 257, Image.fromarray(pixels)
    others = [png(deep), tiff(deep, compression="deflate"), dicom(deep), encode(image, "BMP"), encode(image, "WEBP")]
    return [*make_films(rg1_png)[:12], *others, *(film for film, _ in poison(smaller(rg1_png, 128))[2:4])]


class Process:
    """A process that segments images."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def __call__(self, count: int) -> Measured:
        """Segment ``count`` images."""
        self._line.send(count)
        measured: Measured = self._line.recv()
        return measured


@contextmanager
def process(films: list[bytes]) -> Iterator[Process]:
    """Start a new process."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, films), daemon=True)
    child.start()
    theirs.close()
    try:
        yield Process(ours)
        ours.send(0)
        child.join(30)
    finally:
        child.kill()
        child.join()


def slope(memory: list[int]) -> float:
    """Return the Theil-Sen slope in bytes per image: the median over all pairs of samples.

    A single step, as an allocator makes now and then, hardly moves it; a leak of every image does.
    """
    values = np.array(memory, float)
    first, second = np.triu_indices(len(values), 1)
    return float(np.median((values[second] - values[first]) / (second - first))) / SAMPLE


def test_memory_and_time_stay_constant(films: list[bytes], monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    """Processor time excludes most influence of other processes. The rest (shared caches, clock speed) affects both
    sides, because the old process and a new one take turns."""
    monkeypatch.setenv("LUNG_THREADS", "1")
    with process(films) as old:
        old(WARM_UP)
        soaked = old(FILMS - WARM_UP)
        growth = slope(soaked.memory)
        drift = compared(old, films) if WHOLE else None
    found = f"{growth / 1024:+.2f} KiB an image (Theil-Sen), {soaked.memory[-1] / 2**20:.0f} MiB at the end"
    found += f", {soaked.changed} answers changed"
    found += f", processor time {drift:+.1%} against a new process" if drift is not None else ""
    median = 1000 * statistics.median(soaked.seconds)
    ledger.enter(
        6,
        "A process neither grows nor slows down",
        f"{FILMS:,} images of {len(films)} kinds through both entry points, {median:.1f} ms each",
        found,
    )
    assert soaked.changed == 0
    assert growth < SLOPE
    assert drift is None or drift < 0.05


def compared(old: Process, films: list[bytes]) -> float:
    """Return how much longer the old process takes for all images than a new one, as a fraction."""
    times: dict[str, list[float]] = {"old": [], "new": []}
    both_doors = 2 * len(films)
    with process(films) as new:
        new(2 * both_doors)
        for number in range(ROUNDS):
            pair = [("old", old), ("new", new)]
            for name, each in pair if number % 2 else reversed(pair):
                times[name].append(sum(each(both_doors).seconds))
    return statistics.median(a / b for a, b in zip(times["old"], times["new"], strict=True)) - 1
