"""Thousands of images in one process: its memory does not grow, its images take no longer, its answers do not change."""

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
"""Images after which the allocators have what they keep: their pools, and the largest image's pages."""

SLOPE = cases(64, 1) * 1024
"""Bytes for each image. Few images show only what is large: an image that were kept has a picture and two maps of 1 MiB."""

ROUNDS = 20
"""Turns of the old and the young process, each through all images once by each door."""


@pytest.fixture(scope="module")
def films(rg1_png: bytes) -> list[bytes]:
    """RG1 at sizes that are soon done, in every format, at 8 and 16 bits; and two files that are no images."""
    pixels = pixels_of(smaller(rg1_png, 150))
    deep, image = pixels.astype(np.uint16) * 257, Image.fromarray(pixels)
    others = [png(deep), tiff(deep, compression="deflate"), dicom(deep), encode(image, "BMP"), encode(image, "WEBP")]
    return [*make_films(rg1_png)[:12], *others, *(film for film, _ in poison(smaller(rg1_png, 128))[2:4])]


class Process:
    """A process that segments images."""

    def __init__(self, line: Connection) -> None:
        self._line = line

    def __call__(self, count: int) -> Measured:
        """Let it do so many images."""
        self._line.send(count)
        measured: Measured = self._line.recv()
        return measured


@contextmanager
def process(films: list[bytes]) -> Iterator[Process]:
    """One that has just begun."""
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
    """Theil and Sen's slope, bytes for each image: the median over all pairs of samples.

    A step, such as an allocator takes now and then, moves it by little, however high; what is kept of every image is all
    of it.
    """
    values = np.array(memory, float)
    first, second = np.triu_indices(len(values), 1)
    return float(np.median((values[second] - values[first]) / (second - first))) / SAMPLE


def test_memory_and_time_stay(films: list[bytes], monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    """Time is the processor's own, so that what else runs on the machine counts for little; and what it does count for
    (a cache that is shared, a clock that is lowered) hits both sides: the old process and a young one take turns."""
    monkeypatch.setenv("LUNG_THREADS", "1")
    with process(films) as old:
        old(WARM_UP)
        soaked = old(FILMS - WARM_UP)
        growth = slope(soaked.memory)
        drift = compared(old, films) if WHOLE else None
    found = f"{growth / 1024:+.2f} KiB an image (Theil-Sen), {soaked.memory[-1] / 2**20:.0f} MiB at the end"
    found += f", {soaked.changed} answers changed"
    found += f", processor time {drift:+.1%} against a young process" if drift is not None else ""
    median = 1000 * statistics.median(soaked.seconds)
    ledger.enter(
        6,
        "A process neither grows nor slows down",
        f"{FILMS:,} images of {len(films)} kinds through both doors, {median:.1f} ms each",
        found,
    )
    assert soaked.changed == 0
    assert growth < SLOPE
    assert drift is None or drift < 0.05


def compared(old: Process, films: list[bytes]) -> float:
    """How much longer the old process takes for all images than one that has just begun, as a share."""
    times: dict[str, list[float]] = {"old": [], "young": []}
    both_doors = 2 * len(films)
    with process(films) as young:
        young(2 * both_doors)
        for number in range(ROUNDS):
            pair = [("old", old), ("young", young)]
            for name, each in pair if number % 2 else reversed(pair):
                times[name].append(sum(each(both_doors).seconds))
    return statistics.median(a / b for a, b in zip(times["old"], times["young"], strict=True)) - 1
