"""`segment`: write one output of one image."""

from __future__ import annotations

import argparse
import textwrap
import time
from pathlib import Path

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
    read_options,
)
from lungseg.cli.output import (
    add_image,
    add_output,
    check_outputs,
    choose_output,
    print_verdict,
    read_stdin,
    write_output,
)
from lungseg.decode.formats import format_names
from lungseg.encode.formats import FORMATS
from lungseg.files import read_image_file
from lungseg.model.models import load_models
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.terminal import escape_name, print_status

SEGMENT_DESCRIPTION = textwrap.fill(
    f"Segment the lungs in one image ({format_names('or')}). Prints a summary and a verdict (accept, review or reject) "
    "to standard error. Rejected masks are still written, with a warning.",
    80,
)

SEGMENT_EXAMPLES = """\
examples:
  lungseg segment image.dcm                         write image.dcm.mask.png
  lungseg segment image.png --overlay overlay.png   also write a picture
  lungseg segment image.dcm --format json -o -      print measurements
  lungseg segment image.dcm --format dicom-seg      write image.dcm.seg.dcm
  cat image.jpg | lungseg segment - > mask.png      read from and write to pipes
  lungseg segment image.dcm --strict || echo check  let a script stop on doubt

"""

SEGMENT_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done; also if the verdict is review or reject, unless --strict",
        EXIT_FAILED: "internal error, or the model cannot be loaded",
        EXIT_REFUSED: "the image or the command line is invalid; standard error says why",
        EXIT_DOUBTFUL: "with --strict: the verdict is review or reject",
        EXIT_INTERRUPTED: "interrupted",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "segment",
        help="segment one image: its mask, or another output",
        description=SEGMENT_DESCRIPTION,
        epilog=SEGMENT_EXAMPLES + FORMAT_LIST + "\n" + SEGMENT_EXIT_CODES,
    )
    add_image(parser)
    add_output(parser)
    parser.add_argument("--overlay", metavar="OUT", help="also write a PNG of the image with the mask drawn over it")
    add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    output_format = FORMATS[arguments.format]
    is_piped, output = arguments.image == "-", choose_output(arguments)
    if not is_piped and Path(arguments.image).is_dir():
        raise CommandError("FILE is a folder; to segment every image in it, run: lungseg batch IN_DIR OUT_DIR")
    check_outputs(None if is_piped else arguments.image, output, arguments.overlay, output_format)
    load_models()
    data = read_stdin() if is_piped else read_image_file(Path(arguments.image), pipes=True)

    started = time.perf_counter()
    result = segment(data, read_options(arguments))
    content = output_format.encode(result)
    overlay = FORMATS["overlay"].encode(result) if arguments.overlay else None
    seconds = time.perf_counter() - started
    write_output(output, content, follow=bool(arguments.output))
    if overlay is not None:
        write_output(arguments.overlay, overlay)

    _print_summary(result, seconds)
    if output != "-":
        print_status(f"{output_format.name}: {escape_name(output)}")
    if arguments.overlay:
        print_status(f"overlay: {escape_name(arguments.overlay)}")
    return EXIT_DOUBTFUL if arguments.strict and result.verdict.decision != Decision.ACCEPT else EXIT_DONE


def _print_summary(result: Result, seconds: float) -> None:
    image, verdict = result.radiograph, result.verdict
    print_status(
        f"image: {image.width} x {image.height} pixels; lungs cover {result.lung_share:.1%} of it ({seconds:.2f} s)"
    )
    print_verdict(verdict.decision, ((reason.code, reason.text) for reason in verdict.reasons))
