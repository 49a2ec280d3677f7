"""Choose how many worker processes a batch uses: by cores, free memory and number of images."""

from __future__ import annotations

import os
from pathlib import Path

from lungseg.model.session import core_count

WORKER_BYTES = 1300 * 2**20
"""Measured peak of a process for the largest image and its overlay; half of it for the mask only."""

MIN_IMAGES_PER_WORKER = 8
"""A worker takes as long to start as 8 images of 1 megapixel take (measured), so fewer are not worth another one."""


def default_workers(images: int | None) -> int:
    """Return one worker for each core that this process may use, or fewer if memory is short or images are few.

    Args:
        images: their number; None if it is not known.
    """
    limits = [core_count()]
    if (free := available_memory()) is not None:
        limits.append(free // WORKER_BYTES)
    if images is not None:
        limits.append(-(-images // MIN_IMAGES_PER_WORKER))
    return max(1, min(limits))


def available_memory() -> int | None:
    """Return the bytes that are free by the kernel and by the container's limit, half of all where neither is known.

    None on Windows, which does not say by any function of Python's.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return _half_of_memory()
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _half_of_memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):  # on Windows
        return None
