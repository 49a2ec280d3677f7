"""Files: the films of a folder, reading one within the limits, and writing outputs that are whole or not there."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from app import errors, limits

PARTIAL = ".partial-"
"""What the name of a file begins with while it is being written. Hidden, so it is no film either."""


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
        place, own = folder.resolve(), self.folder.resolve()
        if not place.is_relative_to(own):
            return False
        if self.pattern is None or "**" in self.pattern:
            return True
        inside = place.relative_to(own).parts
        return len(inside) < len(self.pattern) and matches(inside, self.pattern[: len(inside)])

    def films(self, closed: Callable[[str], None] = lambda _: None) -> Iterator[str]:
        """Every file that is looked for, one folder after the other, each folder's in order; hidden ones are left out.

        A link to a file counts as a file, wherever it leads; a link to a folder is not followed.

        Args:
            closed: is told of each folder that cannot be read.

        Yields:
            Paths relative to the folder, with slashes.
        """
        walk = os.walk(self.folder, onerror=lambda error: closed(self._relative(error.filename)))
        for place, folders, files in walk:
            inside = self._relative(place)
            parts = () if inside == "." else tuple(inside.split("/"))
            folders[:] = sorted(name for name in folders if not name.startswith(".") and self._leads_on(parts))
            for name in sorted(files):
                path = Path(place, name)
                if name.startswith(".") or not self._matches((*parts, name)):
                    continue
                if path.is_symlink() or path.is_file():
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


def read_film(path: Path) -> bytes:
    """The bytes of a film's file.

    Raises:
        TooLarge: before more than the limit was read.
        EmptyBody, Unreadable.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limits.MAX_BYTES + 1)
    except OSError as error:
        raise errors.Unreadable(f"The file cannot be read ({error.strerror}).") from None
    limits.check_bytes(len(data))
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all; a link is followed, a pipe or device written to as it is.

    Raises:
        OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    with staged(path) as partial:
        partial.write_bytes(data)
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


def remove_partials(folder: Path) -> int:
    """Remove what a killed run has left half-written below ``folder``; how many files that were."""
    count = 0
    for place, _, files in os.walk(folder):
        for name in files:
            if name.startswith(PARTIAL):
                with contextlib.suppress(OSError):
                    Path(place, name).unlink()
                    count += 1
    return count


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
