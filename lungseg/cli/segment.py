"""`segment`: write one output of one image."""

from __future__ import annotations

import argparse
import textwrap
import time
from dataclasses import replace
from pathlib import Path

from lungseg import errors
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_DOUBTFUL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    FORMAT_LIST,
    CommandParsers,
    add_model,
    add_options,
    exit_codes,
    read_options,
    use_model,
)
from lungseg.cli.destination import Destination, plan_outputs
from lungseg.cli.output import print_verdict, read_stdin, write_output
from lungseg.decode.formats import format_names
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.encode.naming import archive_stem
from lungseg.files import read_image_file
from lungseg.model.models import load_models
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.terminal import escape_name, print_status

SEGMENT_DESCRIPTION = textwrap.fill(
    f"Segment the lungs in images ({format_names('or')}). Prints a summary and a verdict (accept, review or reject) "
    "to standard error. Rejected masks are still written, with a warning.",
    80,
)

SEGMENT_EXAMPLES = """\
examples:
  lungseg segment image.dcm                         write image.dcm.mask.png
  lungseg image.dcm                                 the same
  lungseg a.png b.png -o masks/                     several, into a folder
  lungseg image.png --format mask --format overlay  several outputs
  lungseg image.png --overlay overlay.png           also write a picture
  lungseg segment image.dcm --format json -o -      print measurements
  lungseg segment image.dcm --format dicom-seg      write image.dcm.seg.dcm
  cat image.jpg | lungseg segment - > mask.png      read from and write to pipes
  lungseg segment image.dcm --strict || echo check  let a script stop on doubt

"""

SEGMENT_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done; also if the verdict is review or reject, unless --strict",
        EXIT_FAILED: "internal error, or the model cannot be loaded",
        EXIT_REFUSED: "an image, an output or the command line is invalid; standard error says why",
        EXIT_DOUBTFUL: "with --strict: a verdict is review or reject, and nothing failed",
        EXIT_INTERRUPTED: "interrupted",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "segment",
        help="segment images: their masks, or other outputs; the default command",
        description=SEGMENT_DESCRIPTION,
        epilog=SEGMENT_EXAMPLES + FORMAT_LIST + "\n" + SEGMENT_EXIT_CODES,
    )
    parser.add_argument("images", metavar="FILE|-", nargs="+", help="images; - reads one from standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT|DIR/|-",
        help="output file, or a folder for the outputs of all images; - is standard output (default: FILE plus the "
        "format's suffix, such as FILE.mask.png; standard output if FILE is -)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="NAME",
        action="append",
        help="output format; repeat it for several (default: the one that OUT's suffix names, else mask); see below. "
        "If one format cannot be produced, the others still are",
    )
    parser.add_argument("--overlay", metavar="OUT", help="also write a PNG of the image with the mask drawn over it")
    add_options(parser)
    add_model(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code. Several images continue after one that fails."""
    destinations = plan_outputs(arguments)
    use_model(arguments)
    load_models()
    if len(destinations) == 1:
        return _segment_one(destinations[0], arguments)
    codes = []
    for destination in destinations:
        try:
            codes.append(_segment_one(destination, arguments, name=escape_name(destination.image)))
        except errors.ProblemError as error:
            print_status(f"error: {escape_name(destination.image)}: {error.line()}")
            codes.append(EXIT_REFUSED)
    return EXIT_REFUSED if EXIT_REFUSED in codes else max(codes)


def _segment_one(destination: Destination, arguments: argparse.Namespace, name: str = "") -> int:
    """Write the outputs of one image; return the exit code. The summary starts with its name if there is one.

    Raises:
        ProblemError: there is no output.
    """
    path = destination.image
    data = read_stdin() if path == "-" else read_image_file(Path(path), pipes=True, named=not name)

    started = time.perf_counter()
    result = segment(data, read_options(arguments))
    if path != "-":
        result = replace(result, archive_stem=archive_stem(Path(path).name))
    contents, problems = encode_each(result, destination.outputs)
    if not contents:
        raise next(iter(problems.values()))
    overlay = FORMATS["overlay"].encode(result) if arguments.overlay else None
    seconds = time.perf_counter() - started
    for each, content in contents.items():
        write_output(destination.outputs[each], content, FORMATS[each], follow=destination.is_named)
    if overlay is not None:
        write_output(arguments.overlay, overlay, FORMATS["overlay"])

    _print_summary(result, seconds, name)
    for each in contents:
        if destination.outputs[each] != "-":
            print_status(f"{each}: {escape_name(destination.outputs[each])}")
    if arguments.overlay:
        print_status(f"overlay: {escape_name(arguments.overlay)}")
    for each, error in problems.items():
        print_status(f"error: {each}: {error.line()}")
    if problems:
        return EXIT_REFUSED
    return EXIT_DOUBTFUL if arguments.strict and result.verdict.decision != Decision.ACCEPT else EXIT_DONE


def _print_summary(result: Result, seconds: float, name: str) -> None:
    image, verdict = result.radiograph, result.verdict
    print_status(
        f"image: {name + ', ' if name else ''}{image.width} x {image.height} pixels; lungs cover "
        f"{result.lung_share:.1%} of it ({seconds:.2f} s)"
    )
    print_verdict(verdict.decision, ((reason.code, reason.text) for reason in verdict.reasons))
