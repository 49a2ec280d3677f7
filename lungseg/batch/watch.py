"""A drop folder: which images have arrived, and are whole, since the last look.

It is looked at again and again, as events of the file system would not do: they do not tell of what another machine
writes to a network share, and none tells that a file will not grow any more.
"""

from __future__ import annotations

import os
import time

from lungseg.batch.entry import MISSING_FILE, FileMark
from lungseg.batch.source import ImageSource, OnSkip

SETTLED = 10
"""Seconds after which a file that has not changed is taken for whole without a second look."""

SHARE = 0.05
"""The part of the time that may be spent on looking: a folder of a million images is looked at less often."""


class FolderWatch:
    """What has been seen of a folder. Memory holds a digest an image."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._seen: set[int] = set()
        self._growing: dict[str, FileMark] = {}
        self._took = 0.0

    def look(self, left_out: OnSkip) -> list[str]:
        """The images that have come or changed, and have stopped growing: their size and time are those of last time.

        Args:
            left_out: is told what is left out (`ImageSource.films`).
        """
        started, now = time.monotonic(), time.time()
        seen: set[int] = set()
        growing: dict[str, FileMark] = {}
        films = []
        for film in self._source.films(left_out):
            path = self._source.folder / film
            mark = FileMark.of(path)
            if mark == MISSING_FILE:
                continue
            # An image that was closed to this user comes anew once it is open: that leaves its time as it was.
            digest = hash((film, mark, os.access(path, os.R_OK)))
            if digest in self._seen:
                seen.add(digest)
            elif self._growing.get(film) == mark or now - max(mark.mtime_ns, mark.ctime_ns) / 1e9 > SETTLED:
                seen.add(digest)
                films.append(film)
            else:
                growing[film] = mark
        self._seen, self._growing = seen, growing
        self._took = time.monotonic() - started
        return films

    def rest(self, every: float) -> float:
        """Seconds until the next look, at least ``every``."""
        return max(every, self._took / SHARE)
