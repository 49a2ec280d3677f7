"""How much memory a call takes, whatever ran before it."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path


def of_process(name: str) -> int:
    """Return bytes of this process's memory: "VmRSS" is what it has, "VmHWM" the most that it had.

    Not getrusage's ru_maxrss: a new process begins with that of the one that started it.
    """
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def peak_of(call: Callable[[], object]) -> int:
    """Return the most bytes that Python's allocator held during a call.

    It is called once before: what it imports then, a codec say, is not its own memory.
    """
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
