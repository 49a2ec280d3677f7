"""Watch a drop folder: find the images that have arrived since the last scan and are complete.

The folder is polled. File system events would not do: they do not report what another machine writes to a network
share, and none reports that a file has stopped growing.
"""

from __future__ import annotations

import os
import time

from lungseg.batch.file_mark import MISSING_FILE, FileMark
from lungseg.batch.source import FolderSource, OnSkip

MIN_QUIET_SECONDS = 10
"""A file that has not changed for this long counts as complete without a second scan."""

MAX_SCAN_SHARE = 0.05
"""Largest share of the time spent on scanning: a folder of a million images is scanned less often."""


class FolderWatch:
    """What has been found in a folder. Memory holds one digest for each image."""

    def __init__(self, source: FolderSource) -> None:
        self._source = source
        self._known: set[int] = set()
        self._growing: dict[str, FileMark] = {}
        self._scan_seconds = 0.0

    def scan(self, on_skip: OnSkip) -> list[str]:
        """Return the images that are new or changed and have stopped growing: their marks equal those of the last scan.

        Args:
            on_skip: called with everything that is skipped (`FolderSource.images`).
        """
        started, now = time.monotonic(), time.time()
        known: set[int] = set()
        growing: dict[str, FileMark] = {}
        images = []
        for image in self._source.images(on_skip):
            path = self._source.folder / image
            mark = FileMark.read(path)
            if mark == MISSING_FILE:
                continue
            # An image without read permission counts as new once it is readable: its times do not change then.
            digest = hash((image, mark, os.access(path, os.R_OK)))
            if digest in self._known:
                known.add(digest)
            elif self._growing.get(image) == mark or now - max(mark.mtime_ns, mark.ctime_ns) / 1e9 > MIN_QUIET_SECONDS:
                known.add(digest)
                images.append(image)
            else:
                growing[image] = mark
        self._known, self._growing = known, growing
        self._scan_seconds = time.monotonic() - started
        return images

    def next_delay(self, min_seconds: float) -> float:
        """Return the seconds until the next scan."""
        return max(min_seconds, self._scan_seconds / MAX_SCAN_SHARE)
