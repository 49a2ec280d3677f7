"""Messages to the terminal, on standard error: standard output is for results."""

from __future__ import annotations

import sys


def print_status(line: str) -> None:
    """Print a line to standard error and flush it."""
    print(line, file=sys.stderr, flush=True)


def escape_name(name: str) -> str:
    """Return a file name for use in a message: names may contain line breaks and terminal control sequences."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
