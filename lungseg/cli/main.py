"""The command line door: one image, a folder of images, a local server, a deployed one, and what can be said of this
installation.
"""

from __future__ import annotations

import os
import sys

from lungseg import __version__, errors
from lungseg.cli import batch, doctor, info, remote, segment, serve
from lungseg.cli.common import DONE, EXIT_CODES, FAILED, INTERRUPTED, REFUSED, CommandError, Parser
from lungseg.remote.errors import RemoteError
from lungseg.terminal import escape_name, print_status

EXAMPLES = """\
examples:
  python -m lungseg segment film.dcm                     one mask, film.dcm.mask.png
  python -m lungseg segment film.dcm --format json -o -  verdict and measurements
  python -m lungseg batch images masks --workers 2        a folder; one bad image never stops the others
  python -m lungseg serve                                over HTTP
  python -m lungseg remote segment film.dcm --stack lungs  through a stack on AWS
  python -m lungseg doctor                               does this installation work?
  python -m lungseg segment --help                       more on a command

"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code. Every failure is one line on standard error."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return DONE
    try:
        return int(options.run(options))
    except errors.ProblemError as error:
        return _fail(error.line(), REFUSED)
    except CommandError as error:
        return _fail(str(error), REFUSED)
    except RemoteError as error:
        return _fail(error.line(), FAILED if error.status >= 500 else REFUSED)
    except errors.ModelError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:
        # Python would flush the closed pipe once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail("standard output was closed before all was written", FAILED)
    except OSError as error:
        return _fail(f"{error.strerror}: {escape_name(str(error.filename))}", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:  # its text may quote the image
        return _fail(f"internal-error: an unexpected {type(error).__name__} stopped the command", FAILED)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m lungseg",
        description="Lung masks of frontal chest radiographs. Not a medical device; it makes no diagnosis.",
        epilog=EXAMPLES + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in (segment, batch, serve, remote, info, doctor):
        command.add(commands)
    return parser


def _fail(line: str, code: int) -> int:
    print_status(f"error: {line}")
    return code
