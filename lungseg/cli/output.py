"""What the commands that make one output of one image share: where it may go, and how it gets there."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from lungseg import errors, limits
from lungseg.cli.common import CommandError
from lungseg.encode.formats import FORMATS, Format
from lungseg.encode.naming import output_path
from lungseg.files import resolve_path, write_atomically
from lungseg.pipeline.verdict import Decision
from lungseg.terminal import print_status


def add_output(parser: argparse.ArgumentParser) -> None:
    """--output and --format, which `output_of` reads."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT|-",
        help="the output; - is standard output (default: FILE and the format's suffix, as FILE.mask.png; - for -)",
    )
    parser.add_argument("--format", choices=FORMATS, metavar="NAME", default="mask", help="what to write; see below")


def output_of(arguments: argparse.Namespace) -> str:
    """Where the output goes, "-" for standard output."""
    if arguments.output:
        return str(arguments.output)
    return "-" if arguments.film == "-" else output_path(arguments.film, FORMATS[arguments.format].suffix)


def check_outputs(film: str | None, output: str, overlay: str | None, form: Format) -> None:
    """Refuse outputs that would overwrite the image or each other, print what is no text, or cannot be written.

    Raises:
        CommandError.
        Unwritable: an output's folder is missing, or closed to this user.
    """
    if output == "-" and (sys.stdout is None or (sys.stdout.isatty() and not form.media_type.endswith("json"))):
        raise CommandError(f"{form.name} is no text for a terminal; name a file with -o, or redirect")
    if overlay == "-":
        raise CommandError("standard output is for one output alone; name a file for --overlay")
    places = [resolve_path(Path(name)) for name in (film, output, overlay) if name not in (None, "-") and name]
    if len(set(places)) < len(places):
        raise CommandError("the output would overwrite the image or another output; name another file")
    for name in (output, overlay):
        if name and name != "-":
            _check_writable(Path(name))


def _check_writable(path: Path) -> None:
    """Refuse an output that could not be written, before the work.

    Raises:
        Unwritable.
    """
    try:
        if path.is_dir():
            raise errors.Unwritable("The output is a folder.")
        if path.exists() and not path.is_file():
            if not os.access(path, os.W_OK):
                raise errors.Unwritable("The output is a device or a pipe that is closed to you.")
            return
        # A file is replaced, and not written into: what counts is its folder.
        folder = resolve_path(path).parent
        if not folder.is_dir():
            raise errors.Unwritable("The folder of the output does not exist.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise errors.Unwritable("The folder of the output is read-only, or closed to you.")
    except OSError as error:
        raise errors.Unwritable(f"The output cannot be written ({error.strerror}).") from None


def read_standard_input() -> bytes:
    """An image from a pipe, and at most one byte more than the limit.

    Raises:
        CommandError: there is no standard input.
    """
    if sys.stdin is None:
        raise CommandError("standard input is closed")
    return sys.stdin.buffer.read(limits.MAX_BYTES + 1)


def write(output: str, content: bytes, named: bool = True) -> None:
    """Write to a file, or to standard output for "-".

    Args:
        output: its path.
        content: its bytes.
        named: whether the caller named it; a link in the place of a name that was made up is replaced, not followed.

    Raises:
        Unwritable: a file cannot be written; the reason is named.
        OSError: of standard output.
    """
    if output != "-":
        try:
            write_atomically(Path(output), content, follow=named)
        except OSError as error:
            raise errors.Unwritable(f"The output cannot be written ({error.strerror}).") from None
        return
    sys.stdout.buffer.write(content)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def tell_verdict(decision: str, reasons: Iterable[tuple[str, str]]) -> None:
    """Say whether the mask is to be relied on.

    Args:
        reasons: the code and the text of each.
    """
    print_status(f"verdict: {decision}")
    for code, text in reasons:
        print_status(f"  {code}: {text}")
    if decision == Decision.REJECT:
        print_status("warning: do not rely on this mask")
