"""Files: read images within the limits, and write outputs atomically."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lungseg import errors, limits
from lungseg.terminal import escape_name

PARTIAL_PREFIX, PARTIAL_PATTERN = ".lung-partial-", re.compile(r"\.lung-partial-[a-z0-9_]{8}")
"""Prefix and pattern of the name of a file that is being written. It is hidden, so no run takes it for an image."""


def read_image_file(path: Path, pipes: bool = False, named: bool = False) -> bytes:
    """Read an image file.

    Args:
        path: the file.
        pipes: whether it may be a pipe or a device, which can block for ever.
        named: whether an error says which file cannot be read: only if the person who reads the error named it.

    Raises:
        TooLarge: without reading beyond the limit.
        EmptyBody, Unreadable.
    """
    # Without O_NONBLOCK, opening a named pipe blocks until a process opens it for writing.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | (0 if pipes else getattr(os, "O_NONBLOCK", 0))
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 -- a descriptor
            if not pipes and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise errors.Unreadable("The file is a pipe or a device.")
            data = file.read(limits.MAX_BYTES + 1)
    except OSError as error:
        what = escape_name(str(path)) if named else "The file"
        raise errors.Unreadable(f"{what} cannot be read ({error.strerror}).") from None
    limits.check_bytes(len(data))
    return data


def write_atomically(path: Path, data: bytes, follow: bool = True) -> None:
    """Write ``data`` to ``path`` completely or not at all; a pipe or device is written to directly.

    Args:
        path: the file.
        data: its bytes.
        follow: whether a symbolic link at ``path`` is followed; otherwise the link itself is replaced.

    Raises:
        OSError.
    """
    with replacement_file(path, follow) as partial:
        partial.write_bytes(data)


@contextlib.contextmanager
def replacement_file(path: Path, follow: bool = True) -> Iterator[Path]:
    """Yield a file to write, which replaces ``path`` at the end; a pipe or device is yielded itself.

    Args:
        path: the file.
        follow: as for `write_atomically`.

    Raises:
        OSError.
    """
    # Before links are followed: /dev/stdout may link to a pipe, which has no path to resolve to.
    if follow and path.exists() and not path.is_file():
        yield path
        return
    path = resolve_path(path) if follow else resolve_path(path.parent) / path.name
    with staged_file(path) as partial:
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield an empty file next to ``path``, which the caller fills and renames; it is removed at the end otherwise.

    Raises:
        OSError.
    """
    number, name = tempfile.mkstemp(dir=path.parent, prefix=PARTIAL_PREFIX)
    os.close(number)
    partial = Path(name)
    try:
        # mkstemp's files are private; an output gets the permissions of any other file of the user.
        partial.chmod(0o666 & ~_umask())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(folder: Path, foreign: str) -> int:
    """Remove incomplete files that a killed run left below ``folder``.

    Args:
        folder: the folder of outputs.
        foreign: name of a file that marks the folder of another run, which is skipped.

    Returns:
        The number of files removed.
    """
    count = 0
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not Path(parent, name, foreign).exists()]
        for name in files:
            if PARTIAL_PATTERN.fullmatch(name):
                with contextlib.suppress(OSError):
                    Path(parent, name).unlink()
                    count += 1
    return count


def resolve_path(path: Path) -> Path:
    """Resolve symbolic links like `Path.resolve`, but keep a link to itself instead of raising an error."""
    return Path(os.path.realpath(path))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
