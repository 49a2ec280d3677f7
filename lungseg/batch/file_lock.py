"""Lock an open file between processes: by flock(2), and on Windows by bytes far behind the content."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator

RUN_BYTE, RUN_SLOTS = 2**40, 512
"""What a run locks on Windows: one byte of these to share the lock, all of them to exclude others. None is of the
content, because no other process can read or write a locked byte."""

APPEND_BYTE = RUN_BYTE + RUN_SLOTS
"""What a process locks on Windows while it appends."""

APPEND_PATIENCE = 60
"""Seconds to wait on Windows while other processes append, each for less than a millisecond."""

if sys.platform == "win32":
    import msvcrt

    def _lock_bytes(number: int, first: int, count: int, mode: int = msvcrt.LK_NBLCK) -> bool:
        """Lock or unlock bytes; return False if another process has locked one.

        Raises:
            OSError: the file system has no locks.
        """
        position = os.lseek(number, 0, os.SEEK_CUR)
        os.lseek(number, first, os.SEEK_SET)
        try:
            msvcrt.locking(number, mode, count)
        except PermissionError:
            return False
        finally:
            os.lseek(number, position, os.SEEK_SET)
        return True

else:
    import fcntl


def lock_file(number: int, is_exclusive: bool) -> bool:
    """Lock a file until it is closed, and on POSIX until every process that inherited it has closed it.

    Args:
        number: its descriptor.
        is_exclusive: whether to share the lock with nobody.

    Returns:
        Whether no other process is in the way; True if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            if is_exclusive:
                return _lock_bytes(number, RUN_BYTE, RUN_SLOTS)
            return any(_lock_bytes(number, RUN_BYTE + slot, 1) for slot in range(RUN_SLOTS))
        fcntl.flock(number, (fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def unlock_file(number: int, is_exclusive: bool) -> None:
    """Release a lock of `lock_file`. On Windows, that must come before the file is locked the other way."""
    if sys.platform == "win32":
        locks = [(RUN_BYTE, RUN_SLOTS)] if is_exclusive else [(RUN_BYTE + slot, 1) for slot in range(RUN_SLOTS)]
        for first, count in locks:  # one of the shared ones
            with contextlib.suppress(OSError):
                _lock_bytes(number, first, count, msvcrt.LK_UNLCK)
    else:
        with contextlib.suppress(OSError):
            fcntl.flock(number, fcntl.LOCK_UN)


@contextlib.contextmanager
def append_lock(number: int) -> Iterator[None]:
    """Keep other processes from appending meanwhile.

    POSIX appends in one step. Windows seeks the end first; another process may write before this one does.

    Raises:
        OSError.
    """
    if sys.platform == "win32":
        deadline = time.monotonic() + APPEND_PATIENCE
        while not _lock_bytes(number, APPEND_BYTE, 1):
            if time.monotonic() > deadline:
                raise OSError(errno.EDEADLK, os.strerror(errno.EDEADLK))
            time.sleep(0.001)
        try:
            yield
        finally:
            _lock_bytes(number, APPEND_BYTE, 1, msvcrt.LK_UNLCK)
    else:
        yield
