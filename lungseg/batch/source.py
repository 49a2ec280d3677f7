"""Where a batch looks for images: a folder, a file or a pattern, and what below it is left out."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from lungseg.encode.naming import is_output
from lungseg.files import real


class SkipReason(StrEnum):
    """Why something below a folder of images is left out."""

    CLOSED = "closed"
    """A folder that cannot be read."""
    LINKED = "linked"
    """A link to a folder, which could lead round in a circle."""
    OUTPUT = "output"
    """An output of an image beside it."""


OnSkip = Callable[[SkipReason, str], None]
"""Is told what is left out, and where: relative to the folder, with slashes."""


@dataclass(frozen=True)
class ImageSource:
    """Where images are looked for.

    Attributes:
        folder: all of them lie below it, and their paths are relative to it.
        pattern: what the parts of an image's path must match, ``**`` for any number of folders; None for all of them.
    """

    folder: Path
    pattern: tuple[str, ...] | None = None

    @classmethod
    def named(cls, name: str) -> ImageSource:
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
        """Whether images would be looked for in ``folder``."""
        place, own = real(folder), real(self.folder)
        if not place.is_relative_to(own):
            return False
        if self.pattern is None or "**" in self.pattern:
            return True
        inside = place.relative_to(own).parts
        return len(inside) < len(self.pattern) and matches(inside, self.pattern[: len(inside)])

    def films(self, left_out: OnSkip = lambda _, __: None) -> Iterator[str]:
        """Every file that is looked for, one folder after the other, each folder's in order; hidden ones are left out.

        A link to a file counts as a file, wherever it leads.

        Args:
            left_out: is told of everything else that is left out.

        Yields:
            Paths relative to the folder, with slashes.
        """
        walk = os.walk(self.folder, onerror=lambda error: left_out(SkipReason.CLOSED, self._relative(error.filename)))
        for place, folders, files in walk:
            inside = self._relative(place)
            parts = () if inside == "." else tuple(inside.split("/"))
            folders[:] = sorted(name for name in folders if not name.startswith(".") and self._leads_on(parts))
            for name in folders:
                if Path(place, name).is_symlink():
                    left_out(SkipReason.LINKED, "/".join((*parts, name)))
            names = set(files)
            for name in sorted(files):
                if name.startswith(".") or not self._matches((*parts, name)):
                    continue
                if is_output(name, names):
                    left_out(SkipReason.OUTPUT, "/".join((*parts, name)))
                else:  # a pipe or a device too: it is unreadable, and said to be
                    yield "/".join((*parts, name))

    def _relative(self, place: str) -> str:
        return Path(place).relative_to(self.folder).as_posix()

    def _leads_on(self, parts: tuple[str, ...]) -> bool:
        """Whether images may lie in the folders below ``parts``."""
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
