"""Gain of a second thread: the served network on one thread and on two, each in its own processes.

`python -m benchmarks.threads N` prints the milliseconds of N threads; `benchmarks.image` runs both. Two sessions in one
process cannot be compared, because the threads of an idle session spin, and take a core from the other.
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.machine import ROOT, median, time_rounds

ROUNDS, PROCESSES = 20, 3


def time_by_threads() -> dict[str, float] | None:
    """Return milliseconds by number of threads, "1" and "2"; None on a machine with one core."""
    if (os.cpu_count() or 1) < 2:
        return None
    times: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(PROCESSES):
        for count, taken in times.items():
            line = [sys.executable, "-m", "benchmarks.threads", count]
            run = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            taken.append(float(run.stdout))
    return {count: median(taken) for count, taken in times.items()}


def main() -> None:
    """Measure and print."""
    # The parent is pinned to one core, and this process inherits that.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    import numpy as np

    from lungseg.model.lung import load_lung

    count = int(sys.argv[1])
    os.environ["LUNG_THREADS"] = str(count)
    model = load_lung()
    spec = model.card.input
    square = np.random.default_rng(1).standard_normal((1, spec.channels, spec.size, spec.size), np.float32)
    times = time_rounds({"network": lambda: model(square)}, ROUNDS, f"network, {count} threads")
    print(median(times["network"]))


if __name__ == "__main__":
    main()
