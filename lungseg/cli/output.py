"""Input and output of the commands that produce one output for one image."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from lungseg import errors, limits
from lungseg.cli.common import CommandError
from lungseg.encode.formats import FORMATS, Format
from lungseg.encode.naming import output_path
from lungseg.files import resolve_path, write_atomically
from lungseg.pipeline.reasons import Decision
from lungseg.terminal import escape_name, print_status


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the image, FILE or standard input."""
    parser.add_argument("image", metavar="FILE|-", help="the image; - reads it from standard input")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add --output and --format, which `choose_output` reads."""
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT|-",
        help="output file; - is standard output (default: FILE plus the format's suffix, such as FILE.mask.png; "
        "standard output if FILE is -)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="NAME",
        default="mask",
        help="output format (default: %(default)s); see below",
    )


def choose_output(arguments: argparse.Namespace) -> str:
    """Return where the output goes, "-" for standard output."""
    if arguments.output:
        return str(arguments.output)
    return "-" if arguments.image == "-" else path_beside(arguments.image, FORMATS[arguments.format])


def path_beside(image: str, output_format: Format) -> str:
    """Return the path of an output next to its image, with slashes."""
    return output_path(image.replace(os.sep, "/"), output_format.suffix)


def check_outputs(images: Sequence[str], outputs: Sequence[tuple[str, Format]]) -> None:
    """Refuse outputs that would overwrite an image or each other, garble a terminal, or cannot be written.

    Args:
        images: the paths of the images.
        outputs: path and format of each output; "-" is standard output.

    Raises:
        CommandError.
        Unwritable: the folder of an output does not exist, or this user may not write to it.
    """
    for path, output_format in outputs:
        if path == "-" and (sys.stdout is None or (sys.stdout.isatty() and not output_format.is_json)):
            raise CommandError(
                f"{output_format.name} is a binary format, not for a terminal; name a file with -o, or redirect the "
                "output"
            )
    files = [path for path, _ in outputs if path != "-"]
    paths = [resolve_path(Path(name)) for name in (*images, *files)]
    if len(set(paths)) < len(paths):
        raise CommandError("the output would overwrite the image or another output; name another file")
    for name in files:
        _check_writable(Path(name))


def _check_writable(path: Path) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        CommandError: it is a folder.
        Unwritable.
    """
    try:
        if path.is_dir():
            raise CommandError(f"the output {escape_name(str(path))} is a folder; name a file")
        if path.exists() and not path.is_file():
            if not os.access(path, os.W_OK):
                raise errors.Unwritable("The output is a device or a pipe that you may not write to.")
            return
        # The file is replaced, not overwritten, so the permissions of its folder count.
        folder = resolve_path(path).parent
        if not folder.is_dir():
            raise errors.Unwritable(f"The folder {escape_name(str(path.parent))} does not exist.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise errors.Unwritable("You may not write to the folder of the output.")
    except OSError as error:
        raise errors.Unwritable(f"The output cannot be written ({error.strerror}).") from None


def read_stdin() -> bytes:
    """Return an image from a pipe, of at most one byte more than the limit.

    Raises:
        CommandError: standard input is closed.
    """
    if sys.stdin is None:
        raise CommandError("standard input is closed; name a file instead of -")
    return sys.stdin.buffer.read(limits.MAX_BYTES + 1)


def write_output(output: str, content: bytes, output_format: Format, follow: bool = True) -> None:
    """Write to a file, or to standard output for "-", where JSON ends with a line break.

    Args:
        output: its path.
        content: its bytes.
        output_format: its format.
        follow: whether to follow a symlink at that path: yes if the user named it. Otherwise the link is replaced.

    Raises:
        Unwritable: a file cannot be written; the reason is given.
        OSError: standard output cannot be written.
    """
    if output != "-":
        try:
            write_atomically(Path(output), content, follow=follow)
        except OSError as error:
            raise errors.Unwritable(f"The output cannot be written ({error.strerror}).") from None
        return
    sys.stdout.buffer.write(content)
    if output_format.is_json:
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def print_verdict(decision: str, reasons: Iterable[tuple[str, str]]) -> None:
    """Print the verdict on the mask to standard error.

    Args:
        decision: accept, review or reject.
        reasons: code and text of each.
    """
    print_status(f"verdict: {decision}")
    for code, text in reasons:
        print_status(f"  {code}: {text}")
    if decision == Decision.REJECT:
        print_status("warning: do not rely on this mask")
