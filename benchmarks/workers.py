"""A folder of 1 Mpx images: two workers against one, and both against what the network alone would allow.

    python -m benchmarks.workers                300 images; part of `make bench-serve`

Each worker gets a core of its own. The first image of a run comes after its processes' start, which is measured with a
folder of as many images as workers and taken off.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import docs, machine, tables
from benchmarks.machine import median

VARIANTS = 8
"""Different images; each is there many times."""


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=300, metavar="N", help="in the folder (default: %(default)s)")
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md")
    arguments = parser.parse_args()
    from benchmarks.kinds import made

    films = [made("", "JPEG", 1, seed=seed).data for seed in range(VARIANTS)]
    cores = sorted(os.sched_getaffinity(0))
    runs = {str(count): seconds_of(films, arguments.films, cores[:count]) for count in (1, 2) if count <= len(cores)}
    machine.pin()
    result: dict[str, Any] = {
        "machine": machine.describe(),
        "films": arguments.films,
        "network": network_alone(),
        "seconds": runs,
        "films_a_second": {count: round(arguments.films / seconds, 2) for count, seconds in runs.items()},
    }
    machine.keep("workers", result)
    print(tables.workers(result))
    if arguments.docs:
        docs.write()


def seconds_of(films: list[bytes], count: int, cores: list[int]) -> float:
    """Seconds for a folder with one worker a core, their start taken off."""
    with tempfile.TemporaryDirectory() as folder:
        start = _course(films, len(cores), cores, Path(folder, "few"))
        whole = _course(films, len(cores) + count, cores, Path(folder, "all"))
    print(
        f"{len(cores)} workers: {count} images in {whole - start:.1f} s, after {start:.1f} s to start", file=sys.stderr
    )
    return round(whole - start, 3)


def _course(films: list[bytes], count: int, cores: list[int], folder: Path) -> float:
    source = folder / "in"
    source.mkdir(parents=True)
    for number in range(count):
        (source / f"{number:05}.jpg").write_bytes(films[number % len(films)])
    line = [sys.executable, "-m", "lungseg", "batch", str(source), str(folder / "out"), "--workers", str(len(cores))]
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        started = time.perf_counter()
        subprocess.run(line, cwd=machine.ROOT, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - started
    finally:
        os.sched_setaffinity(0, before)


def network_alone() -> float:
    """Milliseconds of one run of the served network on one core."""
    import numpy as np

    from lungseg.model.lung import load_lung

    model = load_lung()
    spec = model.card.input
    square = np.random.default_rng(1).standard_normal((1, spec.channels, spec.size, spec.size), np.float32)
    return median(machine.rounds_of({"network": lambda: model(square)}, 30, "network alone")["network"])


if __name__ == "__main__":
    main()
