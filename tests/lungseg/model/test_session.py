"""The number of cores that this process may use."""

from __future__ import annotations

import os

import pytest
from kernel_files import replace_kernel_files

from lungseg.model.session import core_count


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        (None, 6),
        ("max 100000\n", 6),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("900000 100000\n", 6),
        ("0 0 0\n", 6),
    ],
)
def test_cores_by_affinity_and_container(limit: str | None, cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_kernel_files(monkeypatch)["/sys/fs/cgroup/cpu.max"] = limit
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert core_count() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    assert core_count() == (cores if cores < 6 else 9 if limit == "900000 100000\n" else 64)
