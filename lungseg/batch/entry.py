"""What is known of one image of a folder, and how a line of the manifest that says it is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lungseg import errors
from lungseg.batch.table import TABLE_COLUMNS, TableRow
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import SUFFIXES, output_path
from lungseg.files import read_film
from lungseg.pipeline.verdict import Decision

CODE = re.compile(r"[a-z0-9-]{1,40}")
"""A code of ours."""

SETTLED_NS = 2 * 10**9
"""A file that changed no longer ago than this when it was read may change again within the same tick of its clock."""


COARSE_NS = 10**7
"""The tick of exFAT's times. Where ticks are finer, one in ten million looks coarse, and its file is read again."""


@dataclass(frozen=True)
class FileMark:
    """What the file system knows of a file; MISSING_FILE's if it cannot be read.

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
    def of(cls, path: Path) -> FileMark:
        """Return the mark of a file."""
        try:
            stat = path.stat()
        except OSError:
            return MISSING_FILE
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)

    def is_settled(self) -> bool:
        """Return whether a change from now on would give another mark.

        Not on Windows, where ctime is the time of creation; not on file systems of whole seconds or hundredths, which
        keep one time only (FAT, exFAT: ctime is mtime there); and not right after a change.
        """
        fine = sys.platform != "win32" and self.ctime_ns % COARSE_NS != 0
        return fine and time.time_ns() - self.ctime_ns > SETTLED_NS


MISSING_FILE = FileMark(-1, -1, -1, -1)


@dataclass(frozen=True)
class Entry:
    """One image.

    Attributes:
        path: relative to the folder of images, with slashes.
        mark: the image's, from before it was read.
        settled: whether the mark alone tells that the image has changed since (`FileMark.is_settled`).
        sha256: digest of the image's bytes; empty if they could not be read.
        recipe: digest of all that decides what the outputs hold.
        outputs: bytes of each output, by its suffix.
        omitted: formats that cannot be made of this image, and the code of the refusal.
        row: what the table says of it (`table.TABLE_COLUMNS`); None if it failed.
        problem: "code" and "detail" of its failure.
    """

    path: str
    mark: FileMark
    settled: bool
    sha256: str
    recipe: str
    outputs: dict[str, int]
    omitted: dict[str, str]
    row: TableRow | None = None
    problem: dict[str, str] | None = None

    def is_of(self, film: Path) -> bool:
        """Return whether a file is the image that this entry speaks of, byte for byte.

        The marks prove it as a rule. Where they do not, after a copy or a move say, the bytes are read.
        """
        mark = FileMark.of(film)
        if mark.size != self.mark.size or mark == MISSING_FILE:
            return False
        return (self.settled and mark == self.mark) or hash_image(film) == self.sha256

    def there(self, target: Path) -> set[str]:
        """The suffixes of those outputs that lie in ``target`` as they were written."""
        return {
            suffix
            for suffix, size in self.outputs.items()
            if FileMark.of(target / output_path(self.path, suffix)).size == size
        }


def hash_image(film: Path) -> str:
    """Return the SHA-256 of an image's bytes; "unreadable" if they cannot be read, which is no file's digest."""
    try:
        return hashlib.sha256(read_film(film)).hexdigest()
    except errors.ProblemError:
        return "unreadable"


def parse_entry(line: bytes) -> Entry | None:
    """Return an entry; None for a line that was cut short, damaged, or written by another version.

    Whoever can write into the folder of outputs can write such a line. So it names outputs by known suffixes alone,
    codes are codes, and a member of another type makes it none.
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        facts = json.loads(line)
        entry = Entry(**(facts | {"mark": FileMark(**facts["mark"])}))
        good = (
            all(isinstance(each, str) for each in (entry.path, entry.sha256, entry.recipe)),
            all(type(each) is int for each in asdict(entry.mark).values()),
            type(entry.settled) is bool,
            all(suffix in SUFFIXES and type(size) is int and size >= 0 for suffix, size in entry.outputs.items()),
            all(name in FORMATS and CODE.fullmatch(code) for name, code in entry.omitted.items()),
            entry.row is None or _is_row(entry.row),
            entry.problem is None or _is_problem(entry.problem),
            (entry.row is None) != (entry.problem is None),
        )
        return entry if all(good) else None
    return None


def _is_row(row: TableRow) -> bool:
    """Return whether a row has the table's columns, and codes for a verdict."""
    return (
        row["verdict"] in set(Decision)
        and all(map(CODE.fullmatch, row["reasons"].split()))
        and all(name in TABLE_COLUMNS and name != "path" for name in row)
        and all(value is None or type(value) in (str, int, float) for value in row.values())
    )


def _is_problem(problem: dict[str, str]) -> bool:
    return (
        set(problem) == {"code", "detail"} and bool(CODE.fullmatch(problem["code"])) and type(problem["detail"]) is str
    )
