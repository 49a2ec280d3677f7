"""Files: the films of a folder, reading one within the limits, and writing outputs that are whole or not there."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from lungseg import errors, limits
from lungseg.encode.naming import is_output

PARTIAL, PARTIAL_NAME = ".lung-partial-", re.compile(r"\.lung-partial-[a-z0-9_]{8}")
"""What the name of a file begins with while it is being written, and all of it. Hidden, so it is no film either."""


class Left(StrEnum):
    """Why something below a folder of films is left out."""

    CLOSED = "closed"
    """A folder that cannot be read."""
    LINKED = "linked"
    """A link to a folder, which could lead round in a circle."""
    OUTPUT = "output"
    """An output of a film beside it."""


LeftOut = Callable[[Left, str], None]
"""Is told what is left out, and where: relative to the folder, with slashes."""


@dataclass(frozen=True)
class Source:
    """Where films are looked for.

    Attributes:
        folder: all of them lie below it, and their paths are relative to it.
        pattern: what the parts of a film's path must match, ``**`` for any number of folders; None for all of them.
    """

    folder: Path
    pattern: tuple[str, ...] | None = None

    @classmethod
    def named(cls, name: str) -> Source:
        """A folder, a file, or a glob pattern, whose parts before the first wildcard are the folder.

        Raises:
            FileNotFoundError: it is none of these.
        """
        path = Path(name)
        if path.is_dir():
            return cls(path)
        if path.is_file():
            return cls(path.parent, (glob.escape(path.name),))
        for number, part in enumerate(path.parts):
            if glob.has_magic(part):
                return cls(Path(*path.parts[:number]), path.parts[number:])
        raise FileNotFoundError(name)

    def sees(self, folder: Path) -> bool:
        """Whether films would be looked for in ``folder``."""
        place, own = real(folder), real(self.folder)
        if not place.is_relative_to(own):
            return False
        if self.pattern is None or "**" in self.pattern:
            return True
        inside = place.relative_to(own).parts
        return len(inside) < len(self.pattern) and matches(inside, self.pattern[: len(inside)])

    def films(self, left_out: LeftOut = lambda _, __: None) -> Iterator[str]:
        """Every file that is looked for, one folder after the other, each folder's in order; hidden ones are left out.

        A link to a file counts as a file, wherever it leads.

        Args:
            left_out: is told of everything else that is left out.

        Yields:
            Paths relative to the folder, with slashes.
        """
        walk = os.walk(self.folder, onerror=lambda error: left_out(Left.CLOSED, self._relative(error.filename)))
        for place, folders, files in walk:
            inside = self._relative(place)
            parts = () if inside == "." else tuple(inside.split("/"))
            folders[:] = sorted(name for name in folders if not name.startswith(".") and self._leads_on(parts))
            for name in folders:
                if Path(place, name).is_symlink():
                    left_out(Left.LINKED, "/".join((*parts, name)))
            names = set(files)
            for name in sorted(files):
                if name.startswith(".") or not self._matches((*parts, name)):
                    continue
                if is_output(name, names):
                    left_out(Left.OUTPUT, "/".join((*parts, name)))
                else:  # a pipe or a device too: it is unreadable, and said to be
                    yield "/".join((*parts, name))

    def _relative(self, place: str) -> str:
        return Path(place).relative_to(self.folder).as_posix()

    def _leads_on(self, parts: tuple[str, ...]) -> bool:
        """Whether films may lie in the folders below ``parts``."""
        return self.pattern is None or "**" in self.pattern or len(parts) + 1 < len(self.pattern)

    def _matches(self, parts: tuple[str, ...]) -> bool:
        return self.pattern is None or matches(parts, self.pattern)


def matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Whether the parts of a path match those of a glob pattern."""
    if not pattern:
        return not parts
    if pattern[0] == "**" and matches(parts, pattern[1:] or ("*",)):
        return True
    if not parts:
        return False
    if pattern[0] == "**":
        return matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and matches(parts[1:], pattern[1:])


def read_film(path: Path, pipes: bool = False) -> bytes:
    """Read a film's file.

    Args:
        path: the file.
        pipes: whether it may be a pipe or a device, which can keep its reader waiting for ever.

    Raises:
        TooLarge: before more than the limit was read.
        EmptyBody, Unreadable.
    """
    # Without O_NONBLOCK, to open a named pipe waits for somebody who writes to it.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | (0 if pipes else getattr(os, "O_NONBLOCK", 0))
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 -- a descriptor
            if not pipes and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise errors.Unreadable("The file is a pipe or a device.")
            data = file.read(limits.MAX_BYTES + 1)
    except OSError as error:
        raise errors.Unreadable(f"The file cannot be read ({error.strerror}).") from None
    limits.check_bytes(len(data))
    return data


def write_whole(path: Path, data: bytes, follow: bool = True) -> None:
    """Write ``data`` to ``path`` whole or not at all; a pipe or device is written to as it is.

    Args:
        path: the file.
        data: its bytes.
        follow: whether a link in its place is followed; otherwise the link itself is replaced.

    Raises:
        OSError.
    """
    with replaced(path, follow) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def replaced(path: Path, follow: bool = True) -> Iterator[Path]:
    """A file to write, which replaces ``path`` at the end; a pipe or device is given as it is.

    Args:
        path: the file.
        follow: as for `write_whole`.

    Raises:
        OSError.
    """
    # Before links are followed: /dev/stdout leads to a pipe, which has no name to resolve to.
    if follow and path.exists() and not path.is_file():
        yield path
        return
    path = real(path) if follow else real(path.parent) / path.name
    with staged(path) as partial:
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, to be filled and then to replace it; removed at the end if it has not.

    Raises:
        OSError.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL)
    os.close(number)
    partial = Path(name)
    try:
        # mkstemp's files are their owner's alone; an output is as readable as any file that its user writes.
        partial.chmod(0o666 & ~_umask())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path, foreign: str) -> int:
    """Remove what a killed run has left half-written below ``folder``.

    Args:
        folder: of outputs.
        foreign: name of a file that marks the folder of another run, which is left alone.

    Returns:
        How many files were removed.
    """
    count = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(place, name, foreign).exists()]
        for name in files:
            if PARTIAL_NAME.fullmatch(name):
                with contextlib.suppress(OSError):
                    Path(place, name).unlink()
                    count += 1
    return count


def real(path: Path) -> Path:
    """Return where a path leads, as `Path.resolve` does; a link that leads to itself is left as it is, and no error."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
