"""`segment`: one image to one output."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lungseg.cli.common import DONE, DOUBTFUL, EXIT_CODES, FORMAT_LIST, Commands, add_choices, chosen
from lungseg.cli.output import add_output, check_outputs, output_of, read_standard_input, tell_verdict, write
from lungseg.decode.formats import format_names
from lungseg.encode.formats import FORMATS
from lungseg.files import read_image_file
from lungseg.model.models import load_models
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.pipeline.verdict import Decision
from lungseg.terminal import escape_name, print_status

EXAMPLES = """\
examples:
  python -m lungseg segment film.dcm                            writes film.dcm.mask.png
  python -m lungseg segment film.png --overlay look.png         and a picture to look at
  python -m lungseg segment film.dcm --format json -o -         prints verdict and measurements
  python -m lungseg segment film.dcm --format dicom-seg         writes film.dcm.seg.dcm
  cat film.jpg | python -m lungseg segment - > mask.png         from a pipe to a pipe
  python -m lungseg segment film.dcm --strict || echo look      a script that stops at a doubtful mask

"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "segment",
        help="one image: its mask, or another output",
        description=f"Segment one image ({format_names('or')}). What was found stands on standard error, "
        "with a verdict:\nis the mask to be relied on? A mask that is not is written all the same, and a warning says "
        "so.",
        epilog=EXAMPLES + FORMAT_LIST + "\n" + EXIT_CODES,
    )
    parser.add_argument("film", metavar="FILE|-", help="the image; - reads it from standard input")
    add_output(parser)
    parser.add_argument("--overlay", metavar="OUT", help="also write the image with the mask laid over it, PNG")
    add_choices(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    form = FORMATS[arguments.format]
    piped, output = arguments.film == "-", output_of(arguments)
    check_outputs(None if piped else arguments.film, output, arguments.overlay, form)
    load_models()
    data = read_standard_input() if piped else read_image_file(Path(arguments.film), pipes=True)

    started = time.perf_counter()
    result = segment(data, chosen(arguments))
    content = form.encode(result)
    overlay = FORMATS["overlay"].encode(result) if arguments.overlay else None
    seconds = time.perf_counter() - started
    write(output, content, named=bool(arguments.output))
    if overlay is not None:
        write(arguments.overlay, overlay)

    _tell(result, seconds)
    if output != "-":
        print_status(f"{form.name}: {escape_name(output)}")
    if arguments.overlay:
        print_status(f"overlay: {escape_name(arguments.overlay)}")
    return DOUBTFUL if arguments.strict and result.verdict.decision != Decision.ACCEPT else DONE


def _tell(result: Result, seconds: float) -> None:
    film, verdict = result.radiograph, result.verdict
    print_status(
        f"film: {film.width} x {film.height} pixels; lungs cover {result.lung_share:.1%} of it ({seconds:.2f} s)"
    )
    tell_verdict(verdict.decision, ((reason.code, reason.text) for reason in verdict.reasons))
