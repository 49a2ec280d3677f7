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
        from lungseg.terminal import install_command

        command = install_command((error.name or "").partition(".")[0])
        print(f"error: {error.name} cannot be imported; run: {command}", file=sys.stderr)
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
