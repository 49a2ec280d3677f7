"""The manifest: a file of JSON lines beside the outputs, one or more for each image, from which a later run resumes.

A worker appends a line once the outputs of its image are written, and before they are renamed to their final names. So
a run that is killed at any moment never leaves an image that is wrongly considered done. If an image has several lines,
the last one counts.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from array import array
from pathlib import Path

import numpy as np

from lungseg.batch.entry import Entry, format_entry, parse_entry

MANIFEST_NAME = ".films.jsonl"

LOCK_PATIENCE = 10
"""Seconds to wait for the workers of another run to end."""


class FolderInUse(Exception):
    """Another run is writing to the same folder."""


class Manifest:
    """The entries of one output folder. Memory holds 32 bytes for each line: its offset, and a digest of its path."""

    def __init__(self, target: Path) -> None:
        """Open the manifest of ``target``, create it if it does not exist, and lock other runs out.

        The lock is held until `close`, and until every process that inherited the file has ended (`fileno`): a worker
        of a run that was killed finishes its image first.

        Raises:
            FolderInUse, OSError; PermissionError if a link, a pipe or a device is in its place.
        """
        self._file = open(_open_manifest(target, os.O_RDWR), "a+b")  # noqa: SIM115 -- a descriptor, until close
        try:
            _lock(self._file.fileno())
            self._end_last_line()
        except BaseException:
            self._file.close()
            raise
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
        """Return the last entry of an image, as of the last `refresh`."""
        digest = hash(path)
        first, last = (int(self._sorted_digests.searchsorted(digest, side)) for side in ("left", "right"))
        for number in reversed(range(first, last)):
            self._file.seek(self._offsets[self._line_numbers[number]])
            entry = parse_entry(self._file.readline())
            if entry is not None and entry.path == path:
                return entry
        return None

    def fileno(self) -> int:
        """Return the descriptor of the locked file."""
        return self._file.fileno()

    def close(self) -> None:
        """Release the lock."""
        self._file.close()

    def _end_last_line(self) -> None:
        """End a line that a killed run left unfinished. The next line would be appended to it otherwise."""
        end = self._file.seek(0, os.SEEK_END)
        if end:
            self._file.seek(end - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
                self._file.flush()


def append_entry(target: Path, entry: Entry) -> None:
    """Append an entry to the manifest of ``target``, in one write, because several processes append at a time.

    Raises:
        OSError.
    """
    line = format_entry(entry)
    number = _open_manifest(target, os.O_WRONLY)
    try:
        if os.write(number, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(number)


def _open_manifest(target: Path, access: int) -> int:
    """Open the manifest for appending; create it if it does not exist.

    Anyone who can write to the folder can put something else in its place. Lines would go where a link points.

    Raises:
        OSError.
    """
    flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    path = target / MANIFEST_NAME
    try:
        number = os.open(path, access | flags | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        if path.is_symlink():
            raise PermissionError(errno.EPERM, "A link is in the manifest's place; remove it", str(path)) from None
        raise error from None
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise PermissionError(errno.EPERM, "A pipe or a device is in the manifest's place; remove it", str(path))
    return number


def _lock(number: int) -> None:
    """Lock an open file until it is closed. Do nothing where the operating or file system does not support locks."""
    if sys.platform == "win32":
        return
    import fcntl

    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise FolderInUse from None
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
