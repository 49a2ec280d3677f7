"""What the commands share: exit codes, what is chosen about an image, and lines on standard error."""

from __future__ import annotations

import argparse
import textwrap
from types import ModuleType
from typing import Any, NoReturn

from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options
from lungseg.terminal import escape_name

DONE, FAILED, REFUSED, DOUBTFUL, INTERRUPTED = 0, 1, 2, 3, 130

EXIT_CODES = """\
exit codes:
  0    done; also if a verdict is "review" or "reject", unless --strict
  1    batch: some images failed, the others are done; doctor: a check failed;
       else: the program itself could not work
  2    the image or the command line was refused, for the reason on standard error
  3    with --strict: a verdict is "review" or "reject" (and nothing failed)
  130  interrupted
"""

FORMAT_LIST = "formats:\n" + "".join(
    textwrap.fill(f"  {each.name:<12} {each.meaning}", 100, subsequent_indent=" " * 15) + "\n"
    for each in FORMATS.values()
)

Commands = Any
"""What argparse gives for subcommands; it names no public type for it."""


class CommandError(Exception):
    """The command cannot be carried out: one line on standard error and exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line, and whose help keeps its examples' lines."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        self.exit(REFUSED, f"error: {escape_name(message)}; see {self.prog} --help\n")


def add_choices(parser: argparse.ArgumentParser) -> None:
    """The arguments that `chosen` reads, and --strict."""
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="T",
        help="lung is where its probability lies above T, between 0 and 1 (default: the model's own, 0.5)",
    )
    parser.add_argument(
        "--no-clean", action="store_true", help="keep specks and holes; without it specks go and holes are filled"
    )
    parser.add_argument(
        "--no-upright", action="store_true", help="take the image for upright, bone bright, whatever it looks like"
    )
    parser.add_argument(
        "--strict", action="store_true", help='exit code 3 if a verdict is "review" or "reject"; outputs are the same'
    )


def chosen(arguments: argparse.Namespace) -> Options:
    """What the command line chooses about an image."""
    return Options(arguments.threshold, clean=not arguments.no_clean, upright=not arguments.no_upright)


def workstation(name: str) -> ModuleType:
    """A module that a workstation has and the service does not.

    Raises:
        CommandError: it is not installed.
    """
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise CommandError(f"{name} is not installed; run: pip install -r lungseg/requirements.txt") from None


def at_least_one(text: str) -> int:
    """A whole number of an argument."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def _threshold(text: str) -> float:
    try:
        value = float(text)
        Options(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} does not lie between 0 and 1, both excluded") from None
    return value
