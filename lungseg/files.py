"""Files: reading an image within the limits, and writing outputs that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lungseg import errors, limits

PARTIAL_PREFIX, PARTIAL_PATTERN = ".lung-partial-", re.compile(r"\.lung-partial-[a-z0-9_]{8}")
"""What the name of a file begins with while it is being written, and all of it. Hidden, so it is no image either."""


def read_image_file(path: Path, pipes: bool = False) -> bytes:
    """Read an image's file.

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


def write_atomically(path: Path, data: bytes, follow: bool = True) -> None:
    """Write ``data`` to ``path`` whole or not at all; a pipe or device is written to as it is.

    Args:
        path: the file.
        data: its bytes.
        follow: whether a link in its place is followed; otherwise the link itself is replaced.

    Raises:
        OSError.
    """
    with replacement_file(path, follow) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def replacement_file(path: Path, follow: bool = True) -> Iterator[Path]:
    """A file to write, which replaces ``path`` at the end; a pipe or device is given as it is.

    Args:
        path: the file.
        follow: as for `write_atomically`.

    Raises:
        OSError.
    """
    # Before links are followed: /dev/stdout leads to a pipe, which has no name to resolve to.
    if follow and path.exists() and not path.is_file():
        yield path
        return
    path = resolve_path(path) if follow else resolve_path(path.parent) / path.name
    with staged_file(path) as partial:
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, to be filled and then to replace it; removed at the end if it has not.

    Raises:
        OSError.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL_PREFIX)
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
            if PARTIAL_PATTERN.fullmatch(name):
                with contextlib.suppress(OSError):
                    Path(place, name).unlink()
                    count += 1
    return count


def resolve_path(path: Path) -> Path:
    """Return where a path leads, as `Path.resolve` does; a link that leads to itself is left as it is, and no error."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
