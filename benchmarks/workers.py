"""Throughput of `batch` for 1 Mpx images: two workers and one, compared with the network alone.

    python -m benchmarks.workers                300 images; part of `make bench-serve`

Each worker has its own core. The start of the processes is measured with a folder of one image per worker, and
subtracted.
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
"""Different images; each is copied many times."""


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=int, default=300, metavar="N", help="images in the folder (default: %(default)s)"
    )
    parser.add_argument("--docs", action="store_true", help="rewrite docs/PERFORMANCE.md")
    arguments = parser.parse_args()
    from benchmarks.sample_images import make_image

    images = [make_image("", "JPEG", 1, seed=seed).data for seed in range(VARIANTS)]
    cores = sorted(os.sched_getaffinity(0))
    runs = {str(count): seconds_of(images, arguments.images, cores[:count]) for count in (1, 2) if count <= len(cores)}
    machine.pin_to_core()
    result: dict[str, Any] = {
        "machine": machine.describe_machine(),
        "images": arguments.images,
        "network": network_alone(),
        "seconds": runs,
        "images_per_second": {count: round(arguments.images / seconds, 2) for count, seconds in runs.items()},
    }
    machine.save_result("workers", result)
    print(tables.workers(result))
    if arguments.docs:
        docs.write()


def seconds_of(images: list[bytes], count: int, cores: list[int]) -> float:
    """Return the seconds for a folder with one worker per core, without their start."""
    with tempfile.TemporaryDirectory() as folder:
        start = _time_batch(images, len(cores), cores, Path(folder, "few"))
        whole = _time_batch(images, len(cores) + count, cores, Path(folder, "all"))
    print(
        f"{len(cores)} workers: {count} images in {whole - start:.1f} s, after {start:.1f} s to start", file=sys.stderr
    )
    return round(whole - start, 3)


def _time_batch(images: list[bytes], count: int, cores: list[int], folder: Path) -> float:
    source = folder / "in"
    source.mkdir(parents=True)
    for number in range(count):
        (source / f"{number:05}.jpg").write_bytes(images[number % len(images)])
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
    """Return the milliseconds of one run of the served network on one core."""
    import numpy as np

    from lungseg.model.lung import load_lung

    model = load_lung()
    spec = model.card.input
    square = np.random.default_rng(1).standard_normal((1, spec.channels, spec.size, spec.size), np.float32)
    return median(machine.time_rounds({"network": lambda: model(square)}, 30, "network alone")["network"])


if __name__ == "__main__":
    main()
