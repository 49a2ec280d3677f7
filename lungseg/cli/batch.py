"""`batch`: a folder of images to a folder of outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from lungseg.batch.manifest import MANIFEST_NAME, FolderInUse, Manifest
from lungseg.batch.plan import BatchSpec
from lungseg.batch.source import FolderSource, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.batch.worker_pool import DEFAULT_TIMEOUT
from lungseg.cli.common import (
    DONE,
    DOUBTFUL,
    EXIT_CODES,
    FAILED,
    FORMAT_LIST,
    INTERRUPTED,
    CommandError,
    Commands,
    add_choices,
    at_least_one,
    chosen,
    workstation,
)
from lungseg.encode.formats import FORMATS
from lungseg.files import remove_partials, resolve_path
from lungseg.model.models import load_models
from lungseg.terminal import print_status

DESCRIPTION = f"""\
Segment every file below IN_DIR, hidden ones left out. film.dcm gives OUT_DIR/film.dcm.mask.png, in the same tree. An
image that is refused gives film.dcm.error.json instead, and a line on standard error; the others go on. Links to
folders are not followed but named, and outputs of this program beside their image are skipped and counted.

An image is left alone if it has not changed since its outputs were made, with the same options, models and version, and
all of them are there. So a run that was stopped, by whatever, goes on where it was when it is started again. An image
that was refused for what it is stays refused until it changes; one that could not be read, or whose process died, is
tried again. OUT_DIR/{MANIFEST_NAME} is where this is known from; without it every image is done again.
"""

EXAMPLES = """\
examples:
  python -m lungseg batch images masks                                masks of a folder
  python -m lungseg batch images masks --workers 4                    in four processes
  python -m lungseg batch 'films/**/*.dcm' masks                     a pattern, in quotes; ** is any number of folders
  python -m lungseg batch images out --format mask --format json      two outputs for each image
  python -m lungseg batch images out --csv measures.csv --report run.json
  python -m lungseg batch inbox out --watch                          and the images that are put there later

"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "batch",
        help="a folder of images, once or as they arrive",
        description=DESCRIPTION,
        epilog=EXAMPLES + FORMAT_LIST + "\n" + EXIT_CODES,
    )
    parser.add_argument("source", metavar="IN_DIR|PATTERN", help="a folder, or a glob pattern in quotes")
    parser.add_argument("target", metavar="OUT_DIR", type=Path, help="made if it is not there; never inside IN_DIR")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="MANIFEST_NAME",
        action="append",
        help="what to write, several times for several (default: mask); see below. Of an image of which one of several "
        "cannot be made, the others are",
    )
    parser.add_argument(
        "--workers",
        type=at_least_one,
        default=1,
        metavar="N",
        help="processes; they share the cores (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=at_least_one,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="for one image; a process that takes longer is killed, and the image fails (default: %(default)s)",
    )
    add_choices(parser)
    parser.add_argument("--again", action="store_true", help="do images that are done, too")
    parser.add_argument("--report", type=Path, metavar="run.json", help="also write counts, and images to look at")
    parser.add_argument("--csv", type=Path, metavar="measures.csv", help="also write one line of measures an image")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="then go on with images that arrive or change, each once it has stopped growing, until Ctrl-C or SIGTERM; "
        "images in work are finished first. --report and --csv are brought up to date every minute",
    )
    parser.add_argument(
        "--every",
        type=at_least_one,
        default=2,
        metavar="SECONDS",
        help="how often --watch looks; seldom if looking takes long (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    workstation("tqdm")
    from lungseg.batch.runner import BatchRunner, RunSettings

    source = _source(arguments)
    left_out: list[tuple[SkipReason, str]] = []
    count = sum(1 for _ in source.images(lambda *what: left_out.append(what)))
    closed = any(kind is SkipReason.CLOSED for kind, _ in left_out)
    if not count and not left_out and not arguments.watch:
        raise CommandError("no file is there: IN_DIR is empty, or nothing matches the pattern")
    options = chosen(arguments)
    formats = tuple(dict.fromkeys(arguments.format or ["mask"]))
    spec = BatchSpec(source.folder, arguments.target, formats, options, load_models().digests)

    arguments.target.mkdir(parents=True, exist_ok=True)
    try:
        manifest = Manifest(arguments.target)
    except FolderInUse:
        raise CommandError("another run is writing into OUT_DIR; wait for its end") from None
    try:
        if left := remove_partials(arguments.target, MANIFEST_NAME):
            print_status(f"removed {left} half-written file{'s' * (left > 1)} of a run that was killed")
        settings = RunSettings(arguments.workers, arguments.again, arguments.timeout, arguments.report, arguments.csv)
        with StopSignal() as stop:
            session = BatchRunner(source, spec, manifest, stop, settings)
            for kind, path in left_out:
                session.report_skipped(kind, path)
            if arguments.watch:
                session.run_watch(arguments.every)
            else:
                session.run_once(count)
    finally:
        manifest.close()
    if arguments.watch:
        return DONE
    if stop.is_requested:
        print_status("interrupted; the same command goes on from here")
        return INTERRUPTED
    if session.tally.failed or closed or not session.has_reports:
        return FAILED
    return DOUBTFUL if arguments.strict and session.tally.doubtful else DONE


def _source(arguments: argparse.Namespace) -> FolderSource:
    """Where the images are; no output may come to lie where images are looked for."""
    try:
        source = FolderSource.parse(arguments.source)
    except FileNotFoundError:
        raise CommandError("IN_DIR is no folder, no file and no pattern") from None
    if not source.folder.is_dir():
        raise CommandError("the folder that the pattern begins with is not there")
    if source.covers(arguments.target):
        raise CommandError("OUT_DIR lies in IN_DIR, so masks would be taken for images; name a folder outside it")
    for name, path in (("--report", arguments.report), ("--csv", arguments.csv)):
        if path is None:
            continue
        folder = resolve_path(path).parent
        if source.covers(folder) or path.is_dir() or not (folder.is_dir() or folder == resolve_path(arguments.target)):
            raise CommandError(f"{name} must name a file in a folder that is there, outside IN_DIR")
    if arguments.report and arguments.csv and resolve_path(arguments.report) == resolve_path(arguments.csv):
        raise CommandError("--report and --csv name the same file")
    return source
