"""What is known of each image of a folder: a file of JSON lines beside the outputs, read when a run starts again.

A line is appended by the process that did the image, once the outputs are written and before they get their names: a
run that is killed at any moment leaves no image that is wrongly taken for done. Of several lines on one image the last
counts.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from array import array
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lungseg.batch.entry import Entry, parse_entry

MANIFEST_NAME = ".films.jsonl"

PATIENCE = 10
"""Seconds that are given to another run's workers to end in."""


class FolderInUse(Exception):
    """Another run is writing into the same folder."""


class Manifest:
    """The entries of one folder of outputs. Memory holds 32 bytes a line: where it is, and a digest of its path."""

    def __init__(self, target: Path) -> None:
        """Open the manifest of ``target``, make it if there is none, and keep other runs out.

        They are kept out until `close`, and until each process that was given the file has ended (`fileno`): a worker
        of a run that was killed finishes its image first.

        Raises:
            FolderInUse, OSError; PermissionError if a link, a pipe or a device lies in its place.
        """
        self._file = open(_opened(target, os.O_RDWR), "a+b")  # noqa: SIM115 -- a descriptor, until close
        try:
            _lock(self._file.fileno())
            self._mend()
        except BaseException:
            self._file.close()
            raise
        self._digests, self._offsets = array("q"), array("q")
        self._end = 0
        self.refresh()

    def refresh(self) -> None:
        """Take notice of lines that have been appended."""
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
        self._sorted, self._places = digests[order], order

    def find(self, path: str) -> Entry | None:
        """The last entry of an image, as of the last `refresh`."""
        digest = hash(path)
        first, last = (int(self._sorted.searchsorted(digest, side)) for side in ("left", "right"))
        for number in reversed(range(first, last)):
            self._file.seek(self._offsets[self._places[number]])
            entry = parse_entry(self._file.readline())
            if entry is not None and entry.path == path:
                return entry
        return None

    def fileno(self) -> int:
        """The locked file."""
        return self._file.fileno()

    def close(self) -> None:
        """Let other runs in."""
        self._file.close()

    def _mend(self) -> None:
        """End a line that a killed run has left unfinished, so that the next one does not go on in it."""
        end = self._file.seek(0, os.SEEK_END)
        if end:
            self._file.seek(end - 1)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")
                self._file.flush()


def append_entry(target: Path, entry: Entry) -> None:
    """Add an entry to the manifest of ``target``, in one write: several processes do it at a time.

    Raises:
        OSError.
    """
    line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
    number = _opened(target, os.O_WRONLY)
    try:
        if os.write(number, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(number)


def _opened(target: Path, access: int) -> int:
    """Open the manifest for appending, and make it if there is none.

    Who may write into the folder may have put something else into its place: lines would go where a link leads.

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
    """Lock an open file as long as it is open; where the system or the file system knows no locks, do without."""
    if sys.platform == "win32":
        return
    import fcntl

    last = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > last:
                raise FolderInUse from None
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
