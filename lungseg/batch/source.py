"""Find the images of a batch: in a folder, or by a file name or pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

from lungseg.batch.shard import Shard
from lungseg.encode.naming import is_output
from lungseg.files import resolve_path


class SkipReason(StrEnum):
    """Why something in a folder of images is skipped."""

    CLOSED = "closed"
    """A folder that cannot be read."""
    LINKED = "linked"
    """A symlink to a folder, which could lead to an endless loop."""
    OUTPUT = "output"
    """An output of an image in the same folder."""


OnSkip = Callable[[SkipReason, str], None]
"""Called with everything that is skipped, and its path relative to the folder, with slashes."""


@dataclass(frozen=True)
class FolderSource:
    """Where to look for images.

    Attributes:
        folder: all images are below it, and their paths are relative to it.
        pattern: the parts that an image's path must match, ``**`` for any number of folders; None for all images.
        shard: the part of the images that `images` yields; None for all.
    """

    folder: Path
    pattern: tuple[str, ...] | None = None
    shard: Shard | None = None

    @classmethod
    def parse(cls, name: str) -> FolderSource:
        """Return the source for a folder, a file, or a glob pattern, whose folder ends before the first wildcard.

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

    def covers(self, folder: Path) -> bool:
        """Return whether images would be looked for in ``folder``."""
        path, root = resolve_path(folder), resolve_path(self.folder)
        if not path.is_relative_to(root):
            return False
        if self.pattern is None or "**" in self.pattern:
            return True
        parts = path.relative_to(root).parts
        return len(parts) < len(self.pattern) and matches_pattern(parts, self.pattern[: len(parts)])

    def has_path(self, path: str) -> bool:
        """Return whether a path, relative to the folder, belongs to this source's shard."""
        return self.shard is None or self.shard.has_image(path)

    def images(self, on_skip: OnSkip = lambda _, __: None) -> Iterator[str]:
        """Yield every image's path relative to the folder, with slashes: folder by folder, each in order.

        Hidden files are ignored. A symlink to a file counts as a file, wherever it points.

        Args:
            on_skip: called with everything else that is skipped.
        """
        walk = os.walk(self.folder, onerror=lambda error: on_skip(SkipReason.CLOSED, self._relative(error.filename)))
        for place, folders, files in walk:
            inside = self._relative(place)
            parts = () if inside == "." else tuple(inside.split("/"))
            folders[:] = sorted(name for name in folders if not name.startswith(".") and self._descends_from(parts))
            for name in folders:
                if Path(place, name).is_symlink():
                    on_skip(SkipReason.LINKED, "/".join((*parts, name)))
            names = set(files)
            for name in sorted(files):
                path = "/".join((*parts, name))
                if name.startswith(".") or not self._matches((*parts, name)):
                    continue
                if not self.has_path(path):
                    continue
                if is_output(name, names):
                    on_skip(SkipReason.OUTPUT, path)
                else:  # even a pipe or a device: reading it fails, and that is reported
                    yield path

    def _relative(self, place: str) -> str:
        return Path(place).relative_to(self.folder).as_posix()

    def _descends_from(self, parts: tuple[str, ...]) -> bool:
        """Return whether the folders below ``parts`` may contain images."""
        return self.pattern is None or "**" in self.pattern or len(parts) + 1 < len(self.pattern)

    def _matches(self, parts: tuple[str, ...]) -> bool:
        return self.pattern is None or matches_pattern(parts, self.pattern)


def matches_pattern(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    """Return whether the parts of a path match those of a glob pattern. On Windows, case is ignored."""
    if not pattern:
        return not parts
    if pattern[0] == "**" and matches_pattern(parts, pattern[1:] or ("*",)):
        return True
    if not parts:
        return False
    if pattern[0] == "**":
        return matches_pattern(parts[1:], pattern)
    return fnmatch(parts[0], pattern[0]) and matches_pattern(parts[1:], pattern[1:])
