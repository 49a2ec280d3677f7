"""When a drop folder is scanned, and when a file in it is complete."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lungseg.batch import watch as watch_module
from lungseg.batch.source import FolderSource, OnSkip, SkipReason
from lungseg.batch.watch import FolderWatch


def ignore(reason: SkipReason, path: str) -> None:
    """Ignore what is skipped."""


class FakeSource:
    """A source of three images, one of which is gone when it is scanned, and of a folder that cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("a.png", "c.png"):
            (folder / name).write_bytes(b"1")

    def images(self, on_skip: OnSkip) -> Iterator[str]:
        on_skip(SkipReason.CLOSED, "ward")
        yield from ("a.png", "b.png", "c.png")


def test_growing_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "MIN_QUIET_SECONDS", 0.5)
    (tmp_path / "old.png").write_bytes(b"1")
    time.sleep(0.6)
    (tmp_path / "new.png").write_bytes(b"1")
    os.utime(tmp_path / "new.png", (0, 60))  # a copier that keeps times may do this before the file is complete
    watch = FolderWatch(FolderSource(tmp_path))
    scans = [watch.scan(ignore)]
    (tmp_path / "new.png").write_bytes(b"12")
    scans += [watch.scan(ignore) for _ in range(3)]
    (tmp_path / "old.png").write_bytes(b"2")
    scans += [watch.scan(ignore) for _ in range(2)]
    assert scans == [["old.png"], [], ["new.png"], [], [], ["old.png"]]
    assert watch.next_delay(2) == 2


@pytest.mark.skipif(os.getuid() == 0, reason="root can read every file")
def test_unreadable_image_is_new_once_it_is_readable(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"1")
    os.utime(image, (0, time.time() - 60))
    image.chmod(0)
    watch = FolderWatch(FolderSource(tmp_path))
    scans = [watch.scan(ignore) for _ in range(2)]
    image.chmod(0o600)
    scans += [watch.scan(ignore) for _ in range(2)]
    assert scans == [["image.png"], [], ["image.png"], []]


def test_scan_ignores_what_is_gone_and_reports_closed_folders(tmp_path: Path) -> None:
    source: Any = FakeSource(tmp_path)
    watch, skipped = FolderWatch(source), list[tuple[SkipReason, str]]()
    assert watch.next_delay(0) == 0
    assert watch.scan(ignore) == []
    assert watch.scan(lambda *what: skipped.append(what)) == ["a.png", "c.png"]
    assert skipped == [(SkipReason.CLOSED, "ward")]


def test_slow_folder_is_scanned_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source: Any = FakeSource(tmp_path)
    watch, clock = FolderWatch(source), iter([100.0, 103.0])
    monkeypatch.setattr(watch_module, "time", SimpleNamespace(monotonic=lambda: next(clock), time=time.time))
    watch.scan(ignore)
    assert watch.next_delay(2) == pytest.approx(60)
    assert watch.next_delay(100) == 100
