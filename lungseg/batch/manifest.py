"""The manifest: a file of JSON lines beside the outputs, one or more for each image, from which a later run resumes.

A worker appends a line once the outputs of its image are written, and before they are renamed to their final names. So
a run that is killed at any moment never leaves an image that is wrongly considered done. If an image has several lines,
the last one counts. A shard (--shard) has a file of its own.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lungseg.batch.entry import Entry, parse_entry
from lungseg.batch.folder_lock import lock_folder
from lungseg.batch.shard import Shard


class Manifest:
    """The entries of one output folder."""

    def __init__(self, target: Path, shard: Shard | None = None) -> None:
        """Open the manifest of ``target``, create it if it does not exist, and lock other runs out.

        The lock is held until `close`, and on POSIX until every process that inherited the files has ended
        (`descriptors`): a worker of a run that was killed finishes its image first.

        Args:
            target: the folder of outputs.
            shard: the part of the images that the run processes. Shards of the same number may run at a time.

        Raises:
            FolderInUse, OSError; PermissionError if a link, a pipe or a device is in its place.
        """
        self._files = lock_folder(target, shard)
        self._indexes = [_FileIndex(file) for file in self._files]

    def refresh(self) -> None:
        """Read the lines that have been appended since."""
        for index in self._indexes:
            index.refresh()

    def find(self, path: str) -> Entry | None:
        """Return the last entry of an image, as of the last `refresh`."""
        return next((entry for index in self._indexes if (entry := index.find(path)) is not None), None)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors of the locked files."""
        return tuple(file.fileno() for file in self._files)

    def close(self) -> None:
        """Release the lock."""
        for file in self._files:
            file.close()


class _FileIndex:
    """The entries in one file. Memory holds 32 bytes for each line: its offset, and a digest of its path."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digests, self._offsets = array("q"), array("q")
        self._end = 0
        self.refresh()

    def refresh(self) -> None:
        """Read the lines that have been appended since."""
        self._file.seek(self._end)
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            entry = parse_entry(line)
            if entry is not None:
                self._digests.append(hash(entry.path))
                self._offsets.append(self._end)
            self._end += len(line)
        digests = np.frombuffer(self._digests, np.int64) if self._digests else np.empty(0, np.int64)
        order = digests.argsort(kind="stable")
        self._sorted_digests, self._line_numbers = digests[order], order

    def find(self, path: str) -> Entry | None:
        """Return the last entry of an image."""
        digest = hash(path)
        first, last = (int(self._sorted_digests.searchsorted(digest, side)) for side in ("left", "right"))
        for number in reversed(range(first, last)):
            self._file.seek(self._offsets[self._line_numbers[number]])
            entry = parse_entry(self._file.readline())
            if entry is not None and entry.path == path:
                return entry
        return None
