"""Lines for the person at the terminal. They go to standard error: standard output is for images' outputs."""

from __future__ import annotations

import sys


def print_status(line: str) -> None:
    """A line on standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def escape_name(name: str) -> str:
    """A file's name as part of one line: names may hold line breaks, and what a terminal takes for commands."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
