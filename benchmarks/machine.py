"""The machine of a measurement: one core, its description, the memory of processes, and the results folder."""

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


def pin_to_core() -> int:
    """Pin this process and its later children to one core and one thread; return the core."""
    # Most interrupts are handled on the first core.
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    os.environ |= {"LUNG_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return core


def describe_machine() -> dict[str, Any]:
    """Return processor, instructions, versions and load; nothing that identifies the machine."""
    found = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": found[1].strip() if found else platform.machine(),
        "instructions": processor.describe_processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def time_rounds(tasks: dict[str, Callable[[], object]], rounds: int, title: str) -> Times:
    """Return the milliseconds of each task in each round.

    The tasks are interleaved, and each round starts with another one: a slow moment of the machine affects all tasks,
    and none always follows the same one. Harnesses that run each benchmark in its own process or block of time (pyperf,
    pytest-benchmark) cannot do that; a ratio of two of their figures compares two different moments.

    Args:
        tasks: by name.
        rounds: number of rounds, after one for warm-up.
        title: of the progress bar.
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
    """Return the median, to two decimals."""
    return round(statistics.median(values), 2)


def ratio(these: list[float], those: list[float]) -> float:
    """Return the median of the ratios in each round."""
    return round(statistics.median(a / b for a, b in zip(these, those, strict=True)), 3)


def child_processes(pid: int) -> list[int]:
    """Return the ids of all descendants of a process."""
    found = []
    # Children are listed by the thread that started them.
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text().split()]
        except OSError:
            continue
        found += [each for child in direct for each in (child, *child_processes(child))]
    return found


def peak_mebibytes(pid: int) -> float:
    """Return the peak memory of a process, in MiB."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return round(int(found[1]) / 1024, 1) if found else 0.0


def save_result(name: str, result: dict[str, Any]) -> None:
    """Write a result to runs/bench as JSON."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {path.relative_to(ROOT)}")


def load_result(name: str) -> dict[str, Any] | None:
    """Return a result of an earlier run; None without one."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None
