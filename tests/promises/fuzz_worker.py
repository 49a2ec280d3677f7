"""Segment corrupted images in a process that may crash or hang: see test_fuzz.

`python fuzz_worker.py SEED FIRST LAST FOLDER` prints a line of JSON for each finding, and one with totals at the end. A
case depends only on the seed and its number.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import time
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil
from memory import of_process
from mutate import mutate
from seeds import seeds

from lungseg import errors
from lungseg.decode import decode, fast_png
from lungseg.pipeline import segment

SECONDS = 5
"""An image that takes longer counts as hanging."""

PEAK = 1200 * 2**20
"""Peak memory that the process may use, in bytes."""

LARGE = fast_png.MIN_ROWS_BYTES
"""Size in bytes from which PNGs take the fast path."""

RUNNING, SAID = "running", "said"
"""Files in the folder: the number of the current case, and what was written to stderr."""


def case(seed: int, number: int) -> bytes:
    """Return one corrupted image."""
    images = list(seeds().values())
    random = Random(f"{seed} {number}")
    return mutate(random.choice(images), random, images)


def outcome(image: bytes) -> str:
    """Return "mask", or the error code.

    The seeds are small: half of them, chosen by their checksum, take the fast path of large PNGs.

    Raises:
        Exception: a promise is broken.
    """
    fast_png.MIN_ROWS_BYTES = 0 if zlib.crc32(image) % 2 else LARGE
    try:
        result = segment.segment(image)
        size = result.radiograph.height, result.radiograph.width
        assert result.mask.shape == result.radiograph.pixels.shape == size
    except errors.ProblemError as refusal:
        assert 400 <= refusal.status < 500, refusal.code
        assert refusal.problem()["detail"]
        return refusal.code
    return "mask"


def load() -> None:
    """Load the models and all decoders, so that no case includes that time."""
    outcome(next(iter(seeds().values())))
    for image in seeds().values():
        with suppress(errors.ProblemError):
            decode(image)


def limit_memory() -> None:
    """Make allocations far beyond the peak fail."""
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + PEAK, resource.RLIM_INFINITY))


def main(seed: int, first: int, last: int, folder: Path) -> None:
    """Try the cases from ``first`` up to ``last``."""
    load()
    limit_memory()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a decoder in C
    running = os.open(folder / RUNNING, os.O_WRONLY | os.O_CREAT)
    said = (folder / SAID).open("w+b", buffering=0)
    os.dup2(said.fileno(), 2)  # C libraries, warnings and logs write there too
    logging.basicConfig(level=logging.INFO)
    found, slowest, most = Counter[str](), 0.0, PEAK
    for number in range(first, last):
        os.pwrite(running, f"{number:12}".encode(), 0)
        image, wrong = case(seed, number), None
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            found[outcome(image)] += 1
        except Exception as error:
            wrong = f"{type(error).__name__} in {errors.raised_at(error)}"
        signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.perf_counter() - started)
        if said.read():
            wrong = "words on standard error"
        if (peak := of_process("VmHWM")) > most:
            most, wrong = peak, f"{peak >> 20} MiB of memory"
        if wrong is not None:
            (folder / f"{number}.film").write_bytes(image)
            print(json.dumps({"case": number, "wrong": wrong}), flush=True)
    print(json.dumps({"found": found, "slowest": slowest, "peak": of_process("VmHWM")}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), Path(sys.argv[4]))
