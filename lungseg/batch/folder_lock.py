"""Lock a folder of outputs, so that no two runs process the same image at a time.

A run of the whole folder locks the main manifest exclusively. A shard shares that lock with the other shards, and locks
its own file exclusively. So each image has at most one run, and its last line is in the shard's own file if it has one
there, else in the main manifest: a run that would break this order first moves the lines of all shards there.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import BinaryIO

from lungseg.batch.file_lock import lock_file, unlock_file
from lungseg.batch.manifest_file import (
    MANIFEST_NAME,
    end_last_line,
    manifest_name,
    merge_manifests,
    open_manifest,
    shard_manifests,
)
from lungseg.batch.shard import Shard

LOCK_PATIENCE = 10
"""Seconds to wait for the workers of another run to end."""

SHARD_PATIENCE = 120
"""Seconds that a shard waits: another one, started at the same time, may be moving the lines of earlier ones; and a
Linux file server keeps the locks of a machine that died for 90 seconds (the lease time of NFS 4)."""


class FolderInUse(Exception):
    """Another run is writing to the same folder."""


def lock_folder(target: Path, shard: Shard | None) -> list[BinaryIO]:
    """Lock a folder for a run; return the locked files: the one to append to, then the main manifest if it is another.

    The lock is held until all of them are closed, on POSIX in every process that inherited them.

    Raises:
        FolderInUse, OSError; PermissionError if a link, a pipe or a device is in the place of a manifest.
    """
    with contextlib.ExitStack() as stack:
        main = stack.enter_context(_open(target / MANIFEST_NAME))
        files = [main] if shard is None else [stack.enter_context(_lock_shard(target, shard, main)), main]
        if shard is None:
            _wait_for_lock(main, True, time.monotonic() + LOCK_PATIENCE)
            merge_manifests(main, shard_manifests(target))
        end_last_line(files[0])
        stack.pop_all()
        return files


def _lock_shard(target: Path, shard: Shard, main: BinaryIO) -> BinaryIO:
    """Lock the shard's own file, and share the lock of the main manifest; return the former."""
    deadline = time.monotonic() + SHARD_PATIENCE
    while True:
        if shard_manifests(target, but=shard):
            # Shards of another number may have the same images. Another shard may be about to move their lines, too.
            if not lock_file(main.fileno(), is_exclusive=True):
                _pause(deadline)
                continue
            merge_manifests(main, shard_manifests(target, but=shard))
            unlock_file(main.fileno(), is_exclusive=True)
        _wait_for_lock(main, False, deadline)
        own = _open(target / manifest_name(shard))
        try:
            _wait_for_lock(own, True, deadline)
            # A run with another number of shards may have begun since; of two such runs, the later one sees the other.
            if not shard_manifests(target, but=shard):
                return own
        except BaseException:
            own.close()
            raise
        own.close()
        unlock_file(main.fileno(), is_exclusive=False)
        _pause(deadline)


def _open(path: Path) -> BinaryIO:
    return open(open_manifest(path, os.O_RDWR), "a+b")  # noqa: PTH123 -- a descriptor


def _wait_for_lock(file: BinaryIO, is_exclusive: bool, deadline: float) -> None:
    """Lock an open file until it is closed.

    Raises:
        FolderInUse: it is still locked at the deadline, by time.monotonic().
    """
    while not lock_file(file.fileno(), is_exclusive):
        _pause(deadline)


def _pause(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise FolderInUse
    time.sleep(0.1)
