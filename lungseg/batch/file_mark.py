"""Tell whether a file has changed since it was last read."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lungseg import errors
from lungseg.files import read_image_file

MIN_SETTLED_NS = 2 * 10**9
"""A file that changed more recently than this when it was read may change again within the same tick of its clock."""

COARSE_TICK_NS = 10**7
"""Resolution of exFAT timestamps. On a finer clock, one time in ten million looks coarse, and that file is reread."""


@dataclass(frozen=True)
class FileMark:
    """What the file system says about a file; MISSING_FILE if the file cannot be read.

    Attributes:
        size: bytes.
        mtime_ns: time of the last change of the bytes. Any program can set it (``cp -p``, ``unzip``).
        ctime_ns: time of the last change of anything, including the name. No program can set it.
        inode: number of the file. Two files that had the same name have different numbers.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def read(cls, path: Path) -> FileMark:
        """Return the mark of a file."""
        try:
            stat = path.stat()
        except OSError:
            return MISSING_FILE
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def is_settled(self) -> bool:
        """Return whether any later change of the file would change its mark.

        False on Windows, where ctime is the creation time; on file systems with a resolution of seconds or
        hundredths, which keep one time only (FAT and exFAT: ctime is mtime there); and right after a change.
        """
        is_fine = sys.platform != "win32" and self.ctime_ns % COARSE_TICK_NS != 0
        return is_fine and time.time_ns() - self.ctime_ns > MIN_SETTLED_NS


MISSING_FILE = FileMark(-1, -1, -1, -1)


@dataclass(frozen=True)
class FileSnapshot:
    """The state of an image's file when it was read.

    Attributes:
        mark: taken before the file was read.
        settled: whether the mark would reveal any later change (`FileMark.is_settled`).
        sha256: digest of the bytes; empty until they have been read.
    """

    mark: FileMark
    settled: bool
    sha256: str = ""

    @classmethod
    def take(cls, path: Path) -> FileSnapshot:
        """Return the state of a file that is about to be read."""
        mark = FileMark.read(path)
        return cls(mark, mark.is_settled())


@dataclass(frozen=True)
class OutputMark:
    """What an output was when it was written.

    Attributes:
        size: bytes.
        mtime_ns: time of its last change.
        sha256: digest of its bytes.
        opacity: of the lungs, if the format is drawn; else None.
    """

    size: int
    mtime_ns: int
    sha256: str
    opacity: float | None = None

    @classmethod
    def of(cls, path: Path, content: bytes, opacity: float | None = None) -> OutputMark:
        """Return the mark of a file that was just written."""
        return cls(len(content), path.stat().st_mtime_ns, hashlib.sha256(content).hexdigest(), opacity)

    def matches_file(self, path: Path) -> bool:
        """Return whether a file is this output.

        Usually the time proves it. After a copy, or if another image's line took this one's place in the manifest, the
        bytes are read.
        """
        mark = FileMark.read(path)
        if mark.size != self.size:
            return False
        return mark.mtime_ns == self.mtime_ns or _hash_output(path) == self.sha256


def hash_image(path: Path) -> str:
    """Return the SHA-256 of an image's bytes, or "unreadable", which is no file's digest, if they cannot be read."""
    try:
        return hashlib.sha256(read_image_file(path)).hexdigest()
    except errors.ProblemError:
        return "unreadable"


def _hash_output(path: Path) -> str:
    """Return the SHA-256 of an output; "unreadable" if it cannot be read, or is no regular file and may block."""
    try:
        if not path.is_file():
            return "unreadable"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"
