"""`remote`: use a deployed service; `remote segment` sends one image."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lungseg.cli import backfill
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_DOUBTFUL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    FORMAT_LIST,
    CommandError,
    CommandParsers,
    add_options,
    exit_codes,
    positive_int,
    read_options,
    require_package,
)
from lungseg.cli.connection import ENVIRONMENT, add_connection, connect_service, find_stack
from lungseg.cli.output import (
    add_image,
    add_output,
    check_outputs,
    choose_output,
    print_verdict,
    read_stdin,
    write_output,
)
from lungseg.encode.formats import FORMATS
from lungseg.pipeline import reasons
from lungseg.pipeline.reasons import Decision
from lungseg.terminal import escape_name, print_status

REMOTE_EXAMPLES = """\
examples:
  lungseg remote segment image.dcm --stack lungs         send one image
  lungseg remote backfill s3://images/in/ --stack lungs  process a bucket
  lungseg remote segment --help                          more about one command

"""

REMOTE_SEGMENT_DESCRIPTION = """\
Send one image to a service and write the result, which is the same as that of
`lungseg segment`. An image of up to 4.5 MB is sent in the request; a larger one
is uploaded to a bucket and processed as a job. The file name is not sent.
Temporary failures (a lost connection, 429, 502, 503, 504) are tried five times.
Credentials are sent to the service only.
"""

REMOTE_SEGMENT_EXAMPLES = """\
examples:
  export LUNG_API_KEY=...      `read -rs LUNG_API_KEY` hides what you type
  lungseg remote segment image.dcm --stack lungs
                               takes URL and API key from the stack
  lungseg remote segment image.dcm --stack lungs --sign
                               as an AWS user or role (IAM authorization)
  lungseg remote segment image.dcm \\
      --url https://ID.execute-api.eu-west-1.amazonaws.com/api
  lungseg remote segment image.dcm --url http://127.0.0.1:8000 --format json
  cat image.jpg | lungseg remote segment - --stack lungs > mask.png

"""

REMOTE_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done; also if the verdict is review or reject, unless --strict",
        EXIT_FAILED: "the service or the connection failed, or internal error",
        EXIT_REFUSED: "the image, the request or the command line is invalid; standard error says why",
        EXIT_DOUBTFUL: "with --strict: the verdict is review or reject",
        EXIT_INTERRUPTED: "interrupted",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the parsers of the command and its subcommands."""
    parser = commands.add_parser(
        "remote",
        help="use a deployed service: send one image, or process a bucket",
        description="Send one image to a deployed service, or let it process the images in a bucket.",
        epilog=REMOTE_EXAMPLES + ENVIRONMENT + REMOTE_EXIT_CODES,
    )
    parser.set_defaults(run=lambda _: parser.print_help() or EXIT_DONE)
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_segment(inner)
    backfill.add(inner)


def _add_segment(commands: CommandParsers) -> None:
    parser = commands.add_parser(
        "segment",
        help="send one image: its mask, or another output",
        description=REMOTE_SEGMENT_DESCRIPTION,
        epilog=REMOTE_SEGMENT_EXAMPLES + ENVIRONMENT + FORMAT_LIST + "\n" + REMOTE_EXIT_CODES,
    )
    add_image(parser)
    add_connection(parser)
    add_output(parser)
    add_options(parser)
    parser.add_argument(
        "--wait",
        type=positive_int,
        default=900,
        metavar="SECONDS",
        help="time limit for a job after its image was uploaded (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    output_format = FORMATS[arguments.format]
    is_piped, output = arguments.image == "-", choose_output(arguments)
    if not is_piped and Path(arguments.image).is_dir():
        raise CommandError("FILE is a folder; name one image")
    check_outputs([] if is_piped else [arguments.image], [(output, output_format)])
    require_package("httpx2")
    require_package("tqdm")
    from lungseg.remote.image_source import ImageSource
    from lungseg.remote.segment import segment_remotely

    image = ImageSource.of(read_stdin() if is_piped else Path(arguments.image))
    started = time.perf_counter()
    with connect_service(arguments, find_stack(arguments)) as service:
        answer = segment_remotely(service, image, output_format, read_options(arguments), arguments.wait, print_status)
    seconds = time.perf_counter() - started
    write_output(output, answer.content, output_format, follow=bool(arguments.output))

    way = "in one request" if answer.job is None else f"as job {answer.job}"
    print_status(f"image: {image.size:,} bytes, sent {way} ({seconds:.2f} s)")
    texts = {reason.code: reason.text for reason in reasons.REASONS}
    # The service is not trusted to send printable text, and another version may know other reasons.
    print_verdict(escape_name(answer.decision), ((escape_name(code), texts.get(code, "")) for code in answer.reasons))
    if output != "-":
        print_status(f"{output_format.name}: {output}")
    return EXIT_DOUBTFUL if arguments.strict and answer.decision != Decision.ACCEPT else EXIT_DONE
