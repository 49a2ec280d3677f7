"""How much memory a call takes, whatever ran before it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


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
