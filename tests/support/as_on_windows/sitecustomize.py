"""Python loads this at start where PYTHONPATH names its folder: the package `lungseg` then finds itself on Windows.

Only `lungseg` does; the standard library and other packages run as they are. It gets Windows's `sys.platform`, no
module, function or flag that only POSIX has, locks of bytes, and appending in two steps. AS_ON=darwin makes it macOS:
without the functions of Linux. What remains untested are Windows's paths, signals and processes.
"""

import builtins
import fcntl
import os
import signal
import struct
import sys
import time
import types

PLATFORM = os.environ.get("AS_ON", "win32")
POSIX_MODULES = {"fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog"}
LINUX_NAMES = {"sched_getaffinity", "sched_setaffinity", "posix_fadvise", "memfd_create", "eventfd", "sendfile"}
POSIX_NAMES = LINUX_NAMES | {
    *("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "O_CLOEXEC", "O_SYNC", "fork", "forkpty", "getuid", "geteuid"),
    *("getgid", "mkfifo", "uname", "sysconf", "killpg", "setsid", "fchmod", "pread", "pwrite", "statvfs", "chown"),
    *("pthread_sigmask", "sigwait", "alarm", "SIGKILL", "SIGHUP", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIG_BLOCK"),
    *("SIG_SETMASK", "SIG_UNBLOCK"),
}


class Facade(types.ModuleType):
    """A module with some names hidden, and others in their place."""

    def __init__(self, module: types.ModuleType, hidden: set[str], **own: object) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(own, _module=module, _hidden=hidden)

    def __getattr__(self, name: str) -> object:
        if name in self._hidden:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._module, name)


def locking(number: int, mode: int, count: int) -> None:
    """Lock or unlock bytes from the file's position on, for its open handle, as the function of `msvcrt`."""
    kind = {0: fcntl.F_UNLCK, 2: fcntl.F_WRLCK}[mode]
    start = os.lseek(number, 0, os.SEEK_CUR)
    try:
        fcntl.fcntl(number, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, start, count, 0))
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None


def open_to_seek(path: object, flags: int, mode: int = 0o777) -> int:
    """Open a file without O_APPEND: `write_at_end` does what is left of it."""
    number = os.open(path, flags & ~os.O_APPEND, mode)
    if flags & os.O_APPEND:
        appended.add(number)
    return number


def write_at_end(number: int, data: bytes) -> int:
    """Write as Windows appends: seek the end, and then write, with time between them for others."""
    if number in appended:
        os.lseek(number, 0, os.SEEK_END)
        time.sleep(0.001)
    return os.write(number, data)


def close(number: int) -> None:
    """Close a descriptor."""
    appended.discard(number)
    os.close(number)


appended: set[int] = set()
HIDDEN = POSIX_NAMES if PLATFORM == "win32" else LINUX_NAMES
FACADES = {"sys": Facade(sys, set(), platform=PLATFORM), "signal": Facade(signal, HIDDEN), "os": Facade(os, HIDDEN)}
if PLATFORM == "win32":
    FACADES["os"] = Facade(os, HIDDEN, O_BINARY=0, open=open_to_seek, write=write_at_end, close=close)
    FACADES["msvcrt"] = Facade(types.ModuleType("msvcrt"), set(), LK_UNLCK=0, LK_NBLCK=2, locking=locking)

real_import = builtins.__import__


def import_as_there(name, globals=None, locals=None, fromlist=(), level=0):  # noqa: A002
    """Import a module; for `lungseg`, as it would be there."""
    if not level and ((globals or {}).get("__package__") or "").partition(".")[0] == "lungseg":
        if name in POSIX_MODULES and PLATFORM == "win32":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in FACADES:
            return FACADES[name]
    return real_import(name, globals, locals, fromlist, level)


builtins.__import__ = import_as_there
