"""The manifest's files: their names, and how they are opened and appended to."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from lungseg.batch.entry import Entry, format_entry
from lungseg.batch.file_lock import append_lock
from lungseg.batch.shard import Shard

MANIFEST_NAME = ".films.jsonl"

SHARD_MANIFEST = re.compile(r"\.films\.(\d+)-of-(\d+)\.jsonl", re.ASCII)
"""Name of the file of one shard. Processes on several machines cannot append to one file on a network share."""


def manifest_name(shard: Shard | None) -> str:
    """Return the name of the file that a run appends to."""
    return MANIFEST_NAME if shard is None else f".films.{shard.label}.jsonl"


def shard_manifests(target: Path, but: Shard | None = None) -> list[Path]:
    """Return the files of shards in ``target``, except those of the same number of shards as ``but``."""
    found = [(path, SHARD_MANIFEST.fullmatch(path.name)) for path in target.iterdir()]
    return sorted(path for path, match in found if match and (but is None or int(match[2]) != but.count))


def append_entry(target: Path, entry: Entry, shard: Shard | None = None) -> None:
    """Append an entry to the manifest of ``target``, in one write, because several processes append at a time.

    Raises:
        OSError.
    """
    line = format_entry(entry)
    number = open_manifest(target / manifest_name(shard), os.O_WRONLY)
    try:
        with append_lock(number):
            if os.write(number, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(number)


def open_manifest(path: Path, access: int) -> int:
    """Open a manifest for appending; create it if it does not exist.

    Anyone who can write to the folder can put something else in its place. Lines would go where a link points.

    Raises:
        OSError.
    """
    flags = os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
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


def merge_manifests(main: BinaryIO, shards: list[Path]) -> None:
    """Move the lines of shards to the end of the main manifest, where they count as the last ones.

    The caller has the folder to itself. If it is killed in between, the lines are there twice, which is harmless.

    Raises:
        OSError.
    """
    for path in shards:
        end_last_line(main)
        with os.fdopen(open_manifest(path, os.O_RDONLY), "rb") as file:
            shutil.copyfileobj(file, main)
        main.flush()
        os.fsync(main.fileno())
        path.unlink()


def end_last_line(file: BinaryIO) -> None:
    """End a line that a killed run left unfinished. The next line would be appended to it otherwise."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")
            file.flush()
