"""`remote`: a deployed service from here; `remote segment` sends one image."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lungseg.cli import backfill
from lungseg.cli.common import (
    DONE,
    DOUBTFUL,
    EXIT_CODES,
    FORMAT_LIST,
    Commands,
    add_choices,
    at_least_one,
    chosen,
    workstation,
)
from lungseg.cli.connection import ENVIRONMENT, add_connection, connect, stack_of
from lungseg.cli.output import add_output, check_outputs, output_of, read_standard_input, tell_verdict, write
from lungseg.encode.formats import FORMATS
from lungseg.pipeline import verdict
from lungseg.pipeline.verdict import Decision
from lungseg.terminal import escape_name, print_status

EXAMPLES = """\
examples:
  python -m lungseg remote segment film.dcm --stack lungs              one image, through a deployed stack
  python -m lungseg remote backfill s3://films/in/ --stack lungs       a bucket's images, where they are
  python -m lungseg remote segment --help                              more on a command

"""

SEGMENT_EXAMPLES = """\
examples:
  export LUNG_API_KEY=...                                          read -rs LUNG_API_KEY asks for it unseen
  python -m lungseg remote segment film.dcm --url https://ID.execute-api.eu-west-1.amazonaws.com/api
  python -m lungseg remote segment film.dcm --stack lungs              address and key by the stack's outputs
  python -m lungseg remote segment film.dcm --stack lungs --sign       as AWS user or role (IAM authorisation)
  python -m lungseg remote segment film.dcm --url http://127.0.0.1:8000 --format json -o -
  cat film.jpg | python -m lungseg remote segment - --stack lungs > mask.png

"""

DESCRIPTION = """\
Send one image to a service, and write what comes back; it is the same as `segment` would write here. An image of up to
4.5 MB goes in the request itself, a larger one to a bucket, as a job; its name stays here. What fails for a while (a
lost connection, 429, 502, 503, 504) is tried five times. Credentials go to the service alone.
"""


def add(commands: Commands) -> None:
    """Describe the commands."""
    parser = commands.add_parser(
        "remote",
        help="a deployed service from here: one image, or a whole bucket",
        description="Send images to a deployed service, or have it do a bucket's.",
        epilog=EXAMPLES + ENVIRONMENT + EXIT_CODES,
    )
    parser.set_defaults(run=lambda _: parser.print_help() or DONE)
    inner = parser.add_subparsers(metavar="COMMAND")
    _add_segment(inner)
    backfill.add(inner)


def _add_segment(commands: Commands) -> None:
    parser = commands.add_parser(
        "segment",
        help="one image: its mask, or another output",
        description=DESCRIPTION,
        epilog=SEGMENT_EXAMPLES + ENVIRONMENT + FORMAT_LIST + "\n" + EXIT_CODES,
    )
    parser.add_argument("film", metavar="FILE|-", help="the image; - reads it from standard input")
    add_connection(parser)
    add_output(parser)
    add_choices(parser)
    parser.add_argument(
        "--wait",
        type=at_least_one,
        default=900,
        metavar="SECONDS",
        help="for a job, after its image was sent (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    output_format = FORMATS[arguments.format]
    piped, output = arguments.film == "-", output_of(arguments)
    check_outputs(None if piped else arguments.film, output, None, output_format)
    workstation("httpx2")
    workstation("tqdm")
    from lungseg.remote.image_source import ImageSource
    from lungseg.remote.segment import segment_remotely

    image = ImageSource.of(read_standard_input() if piped else Path(arguments.film))
    started = time.perf_counter()
    with connect(arguments, stack_of(arguments)) as service:
        answer = segment_remotely(service, image, output_format, chosen(arguments), arguments.wait, print_status)
    seconds = time.perf_counter() - started
    write(output, answer.content, named=bool(arguments.output))

    way = "in one request" if answer.job is None else f"as job {answer.job}"
    print_status(f"image: {image.size:,} bytes, sent {way} ({seconds:.2f} s)")
    texts = {reason.code: reason.text for reason in verdict.REASONS}
    # They come from elsewhere, and a service of another version may know more reasons.
    tell_verdict(escape_name(answer.decision), ((escape_name(code), texts.get(code, "")) for code in answer.reasons))
    if output != "-":
        print_status(f"{output_format.name}: {output}")
    return DOUBTFUL if arguments.strict and answer.decision != Decision.ACCEPT else DONE
