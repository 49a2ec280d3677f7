"""The machine of a measurement: one core, what it is called, its processes' memory, and where results are kept."""

from __future__ import annotations

import json
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lungseg.model import processor

ROOT = Path(__file__).resolve().parents[1]

RESULTS = ROOT / "runs" / "bench"

PACKAGES = ("numpy", "pillow", "imagecodecs", "onnxruntime", "fastapi", "mangum")

Times = dict[str, list[float]]


def pin() -> int:
    """Keep this process, and what it starts from now on, on one core with one thread; the core."""
    # The first one is where most interrupts land.
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ |= {"LUNG_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return core


def describe() -> dict[str, Any]:
    """Processor, instructions, versions, and how busy the machine was in the last minute: nothing that names it."""
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": found[1].strip() if found else platform.machine(),
        "instructions": processor.describe_processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def rounds_of(tasks: dict[str, Callable[[], object]], rounds: int, title: str) -> Times:
    """Milliseconds of each task in each round.

    The tasks take turns, and each round begins with another one: a slow moment of the machine hits all of them, and
    none always runs behind the same. Harnesses that give each benchmark a process, or a block of time, of its own
    (pyperf, pytest-benchmark) cannot do that, and a ratio of two such figures is one of two different moments.

    Args:
        tasks: by name.
        rounds: how many count; one more goes before, which allocates and imports.
        title: for the progress bar.
    """
    times: Times = {name: [] for name in tasks}
    names = list(tasks)
    for number in tqdm(range(-1, rounds), desc=title, unit="round", file=sys.stderr):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            started = time.perf_counter()
            tasks[name]()
            if number >= 0:
                times[name].append(1000 * (time.perf_counter() - started))
    return times


def median(values: list[float]) -> float:
    """The median, to a hundredth."""
    return round(statistics.median(values), 2)


def ratio(these: list[float], those: list[float]) -> float:
    """The median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(these, those, strict=True)), 3)


def below(pid: int) -> list[int]:
    """All processes that a process started, and those that they started."""
    found = []
    # Any of its threads may be the parent.
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        found += [each for child in direct for each in (child, *below(child))]
    return found


def peak_mebibytes(pid: int) -> float:
    """The most memory that a process has held."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


def keep(name: str, result: dict[str, Any]) -> None:
    """Write a result to runs/bench, as JSON."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path.relative_to(ROOT)}")


def kept(name: str) -> dict[str, Any] | None:
    """A result of an earlier run; None if there is none."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None
