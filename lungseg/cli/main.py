"""The command line `lungseg`: parse the arguments, run one command, and turn every failure into one line."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Container

from lungseg import __version__, errors
from lungseg.cli import batch, completion, dicomweb, doctor, info, pacs, remote, segment, serve
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_DOUBTFUL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    CommandError,
    Parser,
    exit_codes,
)
from lungseg.remote.errors import RemoteError
from lungseg.terminal import escape_name, print_status

MAIN_EXAMPLES = """\
examples:
  lungseg image.dcm                               one mask, image.dcm.mask.png
  lungseg a.png b.png -o masks/                   several images
  lungseg image.dcm --format json -o -            verdict and measurements
  lungseg batch images masks                      a folder of images
  lungseg serve                                   an HTTP server on this machine
  lungseg pacs serve --to PACS@pacs:104           a DICOM node for a PACS
  lungseg remote segment image.dcm --stack lungs  through a stack on AWS
  lungseg dicomweb URL --since 2026-01-01         the images of a PACS
  lungseg doctor                                  is the installation complete?
  lungseg segment --help                          more about one command

"""

MAIN_ENVIRONMENT = """\
environment:
  LUNG_MODEL     the model; --model goes before it
  LUNG_THREADS   threads for one image (default: all cores)
  NO_COLOR       if set, no colours
  FORCE_COLOR    if set, colours also where standard error is not a terminal

"""

MAIN_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done",
        EXIT_FAILED: "internal error, an image of a batch failed, or a service failed",
        EXIT_REFUSED: "the image or the command line is invalid; standard error says why",
        EXIT_DOUBTFUL: "with --strict: a verdict is review or reject",
        EXIT_INTERRUPTED: "interrupted",
    }
)


COMMANDS = (segment, batch, serve, remote, pacs, dicomweb, info, doctor, completion)
"""Modules whose `add` describes a command, in the order of the help text. A new command is one module and one entry."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code. Every failure is one line on standard error."""
    parser = build_parser()
    options = parser.parse_command(_with_command(sys.argv[1:] if arguments is None else arguments, parser.commands))
    if options.run is None:
        parser.print_help()
        return EXIT_DONE
    try:
        return int(options.run(options))
    except errors.ProblemError as error:
        return _fail(error.line(), EXIT_REFUSED)
    except CommandError as error:
        return _fail(str(error), EXIT_REFUSED)
    except RemoteError as error:
        return _fail(error.line(), EXIT_FAILED if error.status >= 500 else EXIT_REFUSED)
    except errors.ModelError as error:
        return _fail(str(error), EXIT_FAILED)
    except OSError as error:
        if isinstance(error, BrokenPipeError) or (error.errno == errno.EINVAL and error.filename is None):  # on Windows
            # At exit, Python would flush the closed pipe again, and print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _fail("standard output was closed before everything was written", EXIT_FAILED)
        name = "" if error.filename is None else f": {escape_name(str(error.filename))}"
        return _fail(f"{error.strerror}{name}", EXIT_FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", EXIT_INTERRUPTED)
    except Exception as error:  # its text may quote the image
        return _fail(f"internal-error: an unexpected {type(error).__name__} stopped the command", EXIT_FAILED)


def _with_command(arguments: list[str], commands: Container[str]) -> list[str]:
    """Return a command line with its command: `lungseg image.dcm` means segment, `lungseg folder masks` batch."""
    if not arguments or arguments[0] in commands:
        return arguments
    first = arguments[0]
    if os.path.isdir(first):  # noqa: PTH112 -- unlike Path.is_dir, it takes any text
        return ["batch", *arguments]
    looks_like_image = os.path.exists(first) or any(sign in first for sign in (".", "/", os.sep))  # noqa: PTH110
    if first == "-" or (looks_like_image and not first.startswith("-")):
        return ["segment", *arguments]
    return arguments


def build_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(
        prog="lungseg",
        description="Segment the lungs in frontal chest X-rays. Not a medical device; makes no\ndiagnosis.",
        epilog=MAIN_EXAMPLES + MAIN_ENVIRONMENT + MAIN_EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=None, main_parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    parser.commands = commands.choices
    return parser


def _fail(line: str, code: int) -> int:
    print_status(f"error: {line}")
    return code
