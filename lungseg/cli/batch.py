"""`batch`: segment a folder of images."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from lungseg.batch.folder_lock import FolderInUse
from lungseg.batch.manifest import Manifest
from lungseg.batch.manifest_file import MANIFEST_NAME
from lungseg.batch.plan import BatchSpec
from lungseg.batch.shard import Shard
from lungseg.batch.source import FolderSource, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.batch.worker_count import default_workers
from lungseg.batch.worker_pool import DEFAULT_TIMEOUT
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_DOUBTFUL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    FORMAT_LIST,
    CommandError,
    CommandParsers,
    add_model,
    add_options,
    exit_codes,
    positive_int,
    read_options,
    require_package,
    use_model,
)
from lungseg.encode.formats import FORMATS
from lungseg.files import remove_partials, resolve_path
from lungseg.model.models import load_models
from lungseg.terminal import print_status

BATCH_DESCRIPTION = f"""\
Segment every file in IN_DIR and its subfolders, except hidden files. The mask
of IN_DIR/image.dcm is OUT_DIR/image.dcm.mask.png; subfolders are kept. If an
image fails, image.dcm.error.json is written instead, with a line on standard
error, and the others continue. Symlinks to folders are reported, but not
followed. Outputs of this program in IN_DIR are skipped and counted.

An image is skipped if all its outputs exist and it has not changed since they
were made with the same options, models and version. So a run that was stopped
or killed resumes when you start it again. An image that is invalid stays failed
until it changes. One that could not be read, or whose process died, is retried.
All this is recorded in OUT_DIR/{MANIFEST_NAME}; without that file, every image
is processed again.

With --shard I/N, a run processes one of N parts of the images. Run all N at a
time on the machines of a cluster, with the same IN_DIR and OUT_DIR. A last run
without --shard finds what is done, retries what failed, and writes one --csv
and --report for all images.
"""

BATCH_EXAMPLES = """\
examples:
  lungseg batch images masks               masks of all images in a folder
  lungseg batch images masks --workers 2   in two processes
  lungseg batch 'images/**/*.dcm' masks    a quoted pattern; ** is any folders
  lungseg batch images out --format mask --format json
                                           two outputs for each image
  lungseg batch images out --csv measures.csv --report run.json
  lungseg batch inbox out --watch          also images that arrive later
  lungseg batch images masks --shard 1/8   an eighth of the images

"""

BATCH_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done; also if a verdict is review or reject, unless --strict",
        EXIT_FAILED: "an image failed, a folder could not be read, a report could not be written, "
        "or internal error; standard error says which",
        EXIT_REFUSED: "the command line is invalid; standard error says why",
        EXIT_DOUBTFUL: "with --strict: a verdict is review or reject, and nothing failed",
        EXIT_INTERRUPTED: "interrupted; run the same command again to continue",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "batch",
        help="segment a folder of images, once or as they arrive",
        description=BATCH_DESCRIPTION,
        epilog=BATCH_EXAMPLES + FORMAT_LIST + "\n" + BATCH_EXIT_CODES,
    )
    parser.add_argument(
        "source", metavar="IN_DIR|PATTERN", help="a folder of images, an image, or a glob pattern in quotes"
    )
    parser.add_argument(
        "target", metavar="OUT_DIR", type=Path, help="folder for the outputs, outside IN_DIR; created if needed"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        metavar="NAME",
        action="append",
        help="output format; repeat it for several (default: mask); see below. If one format cannot be produced for "
        "an image, the others still are",
    )
    parser.add_argument(
        "--workers",
        type=positive_int,
        metavar="N",
        help="number of processes, which share the cores (default: one per core that this process may use; fewer if "
        "images are few, or memory for the largest images is short)",
    )
    parser.add_argument(
        "--timeout",
        type=positive_int,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help="time limit for one image; if it is exceeded, the process is killed and the image fails "
        "(default: %(default)s)",
    )
    add_options(parser)
    add_model(parser)
    parser.add_argument("--again", action="store_true", help="also process images that are done")
    parser.add_argument(
        "--report", type=Path, metavar="run.json", help="also write counts, and a list of images to check"
    )
    parser.add_argument(
        "--csv",
        type=Path,
        metavar="measures.csv",
        help="also write a line of measurements for each image; images that an earlier run without --csv processed "
        "are segmented again to measure them",
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="process shard I of N only. An image's path decides which shard it is in. Writes run.I-of-N.json for "
        "--report run.json, and likewise for --csv",
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="then process images that arrive or change, once they have stopped growing, until Ctrl-C or SIGTERM; "
        "current images are finished first. --report and --csv are updated every minute",
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=2,
        metavar="SECONDS",
        help="shortest time between two scans of --watch; a large folder is scanned less often (default: %(default)s)",
    )
    parser.words_hint = "; put a pattern in quotes, such as 'images/*.png'"
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    require_package("tqdm")
    use_model(arguments)
    from lungseg.batch.runner import BatchRunner, RunSettings

    source = _read_source(arguments)
    skipped: list[tuple[SkipReason, str]] = []
    images = count = 0
    for image in replace(source, shard=None).images(lambda *what: skipped.append(what)):
        images, count = images + 1, count + source.has_path(image)
    has_closed_folder = any(reason is SkipReason.CLOSED for reason, _ in skipped)
    if not images and not skipped and not arguments.watch:
        raise CommandError("there are no images: IN_DIR is empty, or no file matches the pattern")
    options = read_options(arguments)
    formats = tuple(dict.fromkeys(arguments.format or ["mask"]))
    spec = BatchSpec(source.folder, arguments.target, formats, options, load_models().digests, shard=source.shard)

    with closing(_lock_target(arguments.target, source.shard)) as manifest:
        if source.shard is None:
            _remove_partials(arguments.target)
        else:
            print_status(f"shard {source.shard}: {count} of {images} image{'s' * (images != 1)}")
        workers = arguments.workers or default_workers(None if arguments.watch else count)
        settings = RunSettings(workers, arguments.again, arguments.timeout, arguments.report, arguments.csv)
        with StopSignal() as stop:
            runner = BatchRunner(source, spec, manifest, stop, settings)
            for reason, path in skipped:
                if reason is not SkipReason.OUTPUT or source.has_path(path):
                    runner.report_skipped(reason, path)
            if arguments.watch:
                runner.run_watch(arguments.every)
            else:
                runner.run_once(count)
    if arguments.watch:
        return EXIT_DONE
    if stop.is_requested:
        print_status("interrupted; run the same command again to continue")
        return EXIT_INTERRUPTED
    if runner.tally.failed or has_closed_folder or not runner.has_reports:
        return EXIT_FAILED
    return EXIT_DOUBTFUL if arguments.strict and runner.tally.doubtful else EXIT_DONE


def _lock_target(target: Path, shard: Shard | None) -> Manifest:
    try:
        target.mkdir(parents=True, exist_ok=True)
        return Manifest(target, shard)
    except (FileExistsError, NotADirectoryError):
        raise CommandError("OUT_DIR is a file, or is below one; name a folder") from None
    except FolderInUse:
        raise CommandError("another run is writing to OUT_DIR; wait until it has ended") from None


def _remove_partials(target: Path) -> None:
    """Remove what a killed run left. Only a run of the whole folder may: a shard's could be another shard's."""
    if removed := remove_partials(target, MANIFEST_NAME):
        print_status(f"removed {removed} partial file{'s' * (removed > 1)} of a run that was killed")


def _read_source(arguments: argparse.Namespace) -> FolderSource:
    """Return where the images are. No output may go where images are looked for."""
    try:
        source = FolderSource.parse(arguments.source)
    except FileNotFoundError:
        raise CommandError("IN_DIR does not exist; name a folder, an image, or a pattern in quotes") from None
    if not source.folder.is_dir():
        raise CommandError("the folder before the pattern's first wildcard does not exist; check its name")
    if source.covers(arguments.target):
        raise CommandError("OUT_DIR is in IN_DIR, so masks would be processed as images; name a folder outside it")
    for name, path in (("--report", arguments.report), ("--csv", arguments.csv)):
        if path is None:
            continue
        folder = resolve_path(path).parent
        if source.covers(folder) or path.is_dir() or not (folder.is_dir() or folder == resolve_path(arguments.target)):
            raise CommandError(f"{name} must name a file in an existing folder outside IN_DIR")
    if arguments.report and arguments.csv and resolve_path(arguments.report) == resolve_path(arguments.csv):
        raise CommandError("--report and --csv name the same file; name two files")
    if arguments.shard is not None:
        arguments.report = arguments.report and arguments.shard.report_path(arguments.report)
        arguments.csv = arguments.csv and arguments.shard.report_path(arguments.csv)
    return replace(source, shard=arguments.shard)


def _shard(text: str) -> Shard:
    try:
        return Shard.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N, such as 1/8, with I from 1 to N") from None
