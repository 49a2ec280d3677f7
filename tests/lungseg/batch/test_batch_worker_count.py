"""How many workers a batch has if the command line does not say."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from kernel_files import KernelFiles, replace_kernel_files

from lungseg.batch import worker_count
from lungseg.batch.worker_count import WORKER_BYTES, available_memory, default_workers
from lungseg.cli import batch as batch_command
from lungseg.cli.main import main

MEMINFO = "MemTotal: 9 kB\nMemAvailable: 4096000 kB\n"
GROUP = "/sys/fs/cgroup/memory."
HALF = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
"""Half of this machine's memory, for macOS, which has no such files."""


@pytest.mark.parametrize(
    ("printed", "free"),
    [
        ({"/proc/meminfo": None}, HALF),
        ({"/proc/meminfo": "MemTotal: 9 kB\n"}, HALF),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": None}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "max\n", f"{GROUP}current": "5\n"}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "1000\n", f"{GROUP}current": "400\n"}, 600),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": f"{2**40}\n", f"{GROUP}current": "0\n"}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "?\n", f"{GROUP}current": "0\n"}, 4096000 * 1024),
    ],
)
def test_available_memory_by_kernel_and_container(
    printed: KernelFiles, free: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_kernel_files(monkeypatch).update(printed)
    assert available_memory() == free


def test_available_memory_is_unknown_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_kernel_files(monkeypatch)["/proc/meminfo"] = None
    monkeypatch.delattr(os, "sysconf")
    assert available_memory() is None


@pytest.mark.parametrize(
    ("cores", "workers_in_memory", "images", "expected"),
    [
        (8, 20, None, 8),
        (8, 20, 1000, 8),
        (8, 3, 1000, 3),
        (8, 0, 1000, 1),
        (8, 20, 8, 1),
        (8, 20, 9, 2),
        (8, 20, 0, 1),
        (8, None, 1000, 8),
    ],
)
def test_default_workers_by_cores_memory_and_images(
    cores: int, workers_in_memory: int | None, images: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = None if workers_in_memory is None else workers_in_memory * WORKER_BYTES + WORKER_BYTES // 2
    monkeypatch.setattr(worker_count, "core_count", lambda: cores)
    monkeypatch.setattr(worker_count, "available_memory", lambda: free)
    assert default_workers(images) == expected


def test_command_uses_the_default_unless_told(
    source: Path, target: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a.png").write_bytes(small)
    report = source.parent / "run.json"
    counts: list[int | None] = []
    monkeypatch.setattr(batch_command, "default_workers", lambda images: counts.append(images) or 1)
    for options, workers in (([], 1), (["--workers", "3"], 3)):
        assert main(["batch", str(source), str(target), "--report", str(report), *options]) == 0
        assert json.loads(report.read_text())["workers"] == workers
    assert counts == [1]
