"""Messages to the terminal, on standard error: standard output is for results."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from typing import TextIO

EXTRAS = {
    **dict.fromkeys(("fastapi", "fastapi_offline", "httptools", "mimeparse", "python_multipart", "uvicorn"), "serve"),
    **dict.fromkeys(("boto3", "botocore", "httpx2"), "remote"),
    **dict.fromkeys(
        ("dicomweb_client", "requests", "requests_toolbelt", "pynetdicom", "prometheus_client"), "dicom-net"
    ),
}
"""The extra of this package that installs a module; all others come with the base."""


GREEN, YELLOW, RED = "32", "33", "31"
"""Select Graphic Rendition: https://www.ecma-international.org/publications-and-standards/standards/ecma-48/"""

WORD_COLORS = {
    "accept": GREEN,
    "ok": GREEN,
    "review": YELLOW,
    "warning": YELLOW,
    "reject": RED,
    "failed": RED,
    "error": RED,
}
"""Words that begin a line, or follow "verdict:", and their colours."""

STATUS_WORD = re.compile(r"(?:verdict: )?([a-z]+)(?=:|$)")


def print_status(line: str) -> None:
    """Print a line to standard error and flush it. A word of WORD_COLORS at its start has its colour."""
    if (match := STATUS_WORD.match(line)) is not None:
        line = f"{line[: match.start(1)]}{color_word(match[1], sys.stderr)}{line[match.end(1) :]}"
    print(line, file=sys.stderr, flush=True)


def color_word(word: str, stream: TextIO) -> str:
    """Return one of WORD_COLORS in its colour if a stream shows colours; any other word as it is.

    Spaces around the word are kept.
    """
    color = WORD_COLORS.get(word.strip())
    return f"\x1b[{color}m{word}\x1b[0m" if color and has_colors(stream) else word


def has_colors(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours, or the user wants them: https://no-color.org

    NO_COLOR comes before FORCE_COLOR, as in Python's own programs. On Windows, only terminals that are known to
    interpret escape sequences get them, because an old console prints them.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    is_capable = sys.platform != "win32" or bool(os.environ.keys() & {"WT_SESSION", "TERM_PROGRAM"})
    return is_capable and os.environ.get("TERM") != "dumb" and stream.isatty()


def elide_name(name: str, columns: int) -> str:
    """Return a name for use in a message, cut to ``columns`` of a terminal. Its end stays, which tells names apart."""
    name = escape_name(name)
    widths = [2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name]
    if sum(widths) <= columns:
        return name
    while widths and sum(widths) >= columns:
        widths.pop(0)
    return f"…{name[len(name) - len(widths) :]}" if columns > 0 else ""


def escape_name(name: str) -> str:
    """Return a file name for use in a message: names may contain line breaks and terminal control sequences."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)


def install_command(module: str) -> str:
    """Return the command that installs a module that is missing."""
    return f'pip install "lungseg[{EXTRAS[module]}]"' if module in EXTRAS else "pip install --force-reinstall lungseg"
