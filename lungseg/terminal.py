"""Messages to the terminal, on standard error: standard output is for results."""

from __future__ import annotations

import sys

EXTRAS = {
    **dict.fromkeys(("fastapi", "fastapi_offline", "httptools", "mimeparse", "python_multipart", "uvicorn"), "serve"),
    **dict.fromkeys(("boto3", "botocore", "httpx2"), "remote"),
}
"""The extra of this package that installs a module; all others come with the base."""


def print_status(line: str) -> None:
    """Print a line to standard error and flush it."""
    print(line, file=sys.stderr, flush=True)


def escape_name(name: str) -> str:
    """Return a file name for use in a message: names may contain line breaks and terminal control sequences."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def install_command(module: str) -> str:
    """Return the command that installs a module that is missing."""
    return f'pip install "lungseg[{EXTRAS[module]}]"' if module in EXTRAS else "pip install --force-reinstall lungseg"
