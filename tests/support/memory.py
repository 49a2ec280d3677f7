"""Measure the memory of a call, whatever ran before it."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path


def of_process(name: str) -> int:
    """Return bytes of this process's memory: "VmRSS" is the current value, "VmHWM" the peak.

    Not getrusage's ru_maxrss: a new process starts with that of its parent.
    """
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def peak_of(call: Callable[[], object]) -> int:
    """Return the peak bytes of Python's allocator during a call.

    The function is called once before, so that imports, such as of a codec, do not count.
    """
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
