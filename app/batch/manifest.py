"""What is known of each film of a folder: a file of JSON lines beside the outputs, read when a run starts again.

A line is appended by the process that did the film, once the outputs are written and before they get their names: a
run that is killed at any moment leaves no film that is wrongly taken for done. Of several lines on one film the last
counts.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app import errors
from app.encode.formats import FORMATS
from app.folder import read_film
from app.naming import SUFFIXES, output_path

NAME = ".films.jsonl"

PATIENCE = 10
"""Seconds that are given to another run's workers to end in."""

Row = dict[str, Any]


SETTLED_NS = 2 * 10**9
"""A file that changed no longer ago than this when it was read may change again within the same tick of its clock."""


@dataclass(frozen=True)
class Mark:
    """What the file system knows of a file; NO_FILE's if it cannot be read.

    Attributes:
        size: bytes.
        mtime_ns: time of the last change of its bytes, which any program can set (``cp -p``, ``unzip``).
        ctime_ns: time of the last change of anything, its name included, which no program can set.
        inode: number of the file; two files of one name have two.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Mark:
        """Return the mark of a file."""
        try:
            stat = path.stat()
        except OSError:
            return NO_FILE
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def is_settled(self) -> bool:
        """Return whether a change from now on would give another mark.

        Not on file systems with whole seconds (FAT, exFAT, some network shares), nor right after a change.
        """
        return self.ctime_ns % 10**9 != 0 and time.time_ns() - self.ctime_ns > SETTLED_NS


NO_FILE = Mark(-1, -1, -1, -1)


@dataclass(frozen=True)
class Entry:
    """One film.

    Attributes:
        path: relative to the folder of films, with slashes.
        mark: the film's, from before it was read.
        settled: whether the mark alone tells that the film has changed since (`Mark.is_settled`).
        sha256: digest of the film's bytes; empty if they could not be read.
        recipe: digest of all that decides what the outputs hold.
        outputs: bytes of each output, by its suffix.
        omitted: formats that cannot be made of this film, and the code of the refusal.
        row: what the table says of it (`report.COLUMNS`); None if it failed.
        problem: "code" and "detail" of its failure.
    """

    path: str
    mark: Mark
    settled: bool
    sha256: str
    recipe: str
    outputs: dict[str, int]
    omitted: dict[str, str]
    row: Row | None = None
    problem: dict[str, str] | None = None

    def is_of(self, film: Path) -> bool:
        """Return whether a file is the film that this entry speaks of, byte for byte.

        The marks prove it as a rule. Where they do not, after a copy or a move say, the bytes are read.
        """
        mark = Mark.of(film)
        if mark.size != self.mark.size or mark == NO_FILE:
            return False
        return (self.settled and mark == self.mark) or digest_of(film) == self.sha256

    def there(self, target: Path) -> set[str]:
        """The suffixes of those outputs that lie in ``target`` as they were written."""
        return {
            suffix
            for suffix, size in self.outputs.items()
            if Mark.of(target / output_path(self.path, suffix)).size == size
        }


def digest_of(film: Path) -> str:
    """Return the SHA-256 of a film's bytes; "unreadable" if they cannot be read, which is no file's digest."""
    try:
        return hashlib.sha256(read_film(film)).hexdigest()
    except errors.FilmError:
        return "unreadable"


class InUse(Exception):
    """Another run is writing into the same folder."""


class Manifest:
    """The entries of one folder of outputs. Memory holds 32 bytes a line: where it is, and a digest of its path."""

    def __init__(self, target: Path) -> None:
        """Open the manifest of ``target``, make it if there is none, and keep other runs out.

        They are kept out until `close`, and until each process that was given the file has ended (`fileno`): a worker
        of a run that was killed finishes its film first.

        Raises:
            InUse, OSError.
        """
        self._file = (target / NAME).open("a+b")
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
            entry = _parsed(line)
            if entry is not None:
                self._digests.append(hash(entry.path))
                self._offsets.append(self._end)
            self._end += len(line)
        digests = np.frombuffer(self._digests, np.int64) if self._digests else np.empty(0, np.int64)
        order = digests.argsort(kind="stable")
        self._sorted, self._places = digests[order], order

    def find(self, path: str) -> Entry | None:
        """The last entry of a film, as of the last `refresh`."""
        digest = hash(path)
        first, last = (int(self._sorted.searchsorted(digest, side)) for side in ("left", "right"))
        for number in reversed(range(first, last)):
            self._file.seek(self._offsets[self._places[number]])
            entry = _parsed(self._file.readline())
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


def append(target: Path, entry: Entry) -> None:
    """Add an entry to the manifest of ``target``, in one write: several processes do it at a time.

    Raises:
        OSError.
    """
    line = json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"
    number = os.open(target / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        if os.write(number, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(number)


def _parsed(line: bytes) -> Entry | None:
    """Return an entry; None for a line that was cut short, damaged, or written by another version.

    Whoever can write into the folder of outputs can write such a line. So it names outputs by known suffixes alone,
    and a member of another type makes it none.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        facts = json.loads(line)
        entry = Entry(**(facts | {"mark": Mark(**facts["mark"])}))
        good = (
            all(isinstance(each, str) for each in (entry.path, entry.sha256, entry.recipe)),
            all(type(each) is int for each in asdict(entry.mark).values()),
            type(entry.settled) is bool,
            all(suffix in SUFFIXES and type(size) is int for suffix, size in entry.outputs.items()),
            all(name in FORMATS and isinstance(code, str) for name, code in entry.omitted.items()),
            entry.row is None or all(isinstance(entry.row[name], str) for name in ("verdict", "reasons")),
            entry.problem is None or all(isinstance(entry.problem[name], str) for name in ("code", "detail")),
            (entry.row is None) != (entry.problem is None),
        )
        return entry if all(good) else None
    return None


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
                raise InUse from None
            time.sleep(0.1)
        except OSError:
            return
        else:
            return
