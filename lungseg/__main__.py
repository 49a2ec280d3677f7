"""The entry point of `lungseg` and `python -m lungseg`."""

import os
import signal
import sys
from types import FrameType


def _exit_interrupted(number: int, frame: FrameType | None) -> None:
    """End at once: a package that is interrupted during its import reports that it is not installed."""
    os.write(2, b"error: interrupted\n")
    os._exit(130)


def run() -> int:
    """Run the command line; return its exit code."""
    # A shell starts background commands with SIGINT ignored. Leave it ignored.
    is_ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    # The imports take the first quarter of a second.
    if not is_ignored:
        signal.signal(signal.SIGINT, _exit_interrupted)
    try:
        from lungseg.cli.main import main
    except ImportError as error:
        from lungseg.terminal import escape_name, install_command, print_status

        name = error.name or "a module"
        # A module that exists says what it lacks: a library of the system, or a name in a module of another version.
        is_missing = isinstance(error, ModuleNotFoundError) or not error.msg
        cause = "" if is_missing else f" ({escape_name(error.msg.splitlines()[0])})"
        print_status(f"error: {name} cannot be imported{cause}; run: {install_command(name.partition('.')[0])}")
        return 1
    if not is_ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        code = main()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is done: there is nothing left to interrupt
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        code = 130
    return code


if __name__ == "__main__":
    raise SystemExit(run())
