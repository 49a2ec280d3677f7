"""`dicomweb`: segment the chest X-rays of a DICOMweb server, and store the results there."""

from __future__ import annotations

import argparse
import os
import warnings
from contextlib import ExitStack
from pathlib import Path
from threading import Semaphore
from typing import TYPE_CHECKING

from lungseg import settings
from lungseg.batch.stop import StopSignal
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_DOUBTFUL,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
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
from lungseg.cli.dicomweb_options import add_access, add_search, read_access, read_search
from lungseg.encode.formats import DICOM_FORMATS
from lungseg.files import resolve_path
from lungseg.model.lung import LUNG_WEIGHTS, open_lung
from lungseg.model.models import Models
from lungseg.model.session import core_count
from lungseg.terminal import print_status

if TYPE_CHECKING:
    from lungseg.dicomweb.runner import ArchiveRunner


DICOMWEB_PACKAGES = ("requests", "requests_toolbelt", "dicomweb_client", "tqdm")

DICOMWEB_DESCRIPTION = """\
Search a DICOMweb server for chest X-rays (QIDO-RS), retrieve those that have no
result of this model yet (WADO-RS), segment them, and store the results in their
studies (STOW-RS). URL is what /studies is appended to.

The server is asked what is done: a run that was stopped or killed continues
when you start it again, and a second run does nothing. A result of another
model or threshold does not count; --again also repeats this model's.

Left out, by their headers: instances other than CR, DX and SC images, other
body parts, lateral views, several frames. Nothing is stored for images whose
verdict is reject. The network and this machine hold one image per worker.

No log, report or message contains a UID or a patient's data; --details does.
"""

DICOMWEB_EXAMPLES = """\
examples:
  lungseg dicomweb http://127.0.0.1:8042/dicom-web --since 2026-01-01 --dry-run
                               how many images have no result, and an estimate
  lungseg dicomweb https://pacs.example.org/rs --since 2026-01-01
                               segment them
  lungseg dicomweb https://pacs.example.org/rs --since 2026-11-01 --watch
                               also images that arrive later

"""

DICOMWEB_ENVIRONMENT = f"""\
environment:
  {settings.DICOMWEB_USER.name}, {settings.DICOMWEB_PASSWORD.name}
                 for basic authentication
  {settings.DICOMWEB_TOKEN.name}
                 bearer token
  HTTPS_PROXY, NO_PROXY
                 a proxy to the server

"""

DICOMWEB_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done; also if a verdict is review or reject, unless --strict",
        EXIT_FAILED: "an image or a study failed, the server cannot be reached or used, or internal error; standard "
        "error says which",
        EXIT_REFUSED: "the command line is invalid, or the server rejected the credentials",
        EXIT_DOUBTFUL: "with --strict: a verdict is review or reject, and nothing failed",
        EXIT_INTERRUPTED: "interrupted; run the same command again to continue",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "dicomweb",
        help="segment the chest X-rays of a DICOMweb server",
        description=DICOMWEB_DESCRIPTION,
        epilog=DICOMWEB_EXAMPLES + DICOMWEB_ENVIRONMENT + DICOMWEB_EXIT_CODES,
    )
    parser.add_argument("url", metavar="URL", help="base URL of the server, such as http://127.0.0.1:8042/dicom-web")
    add_search(parser)
    add_access(parser)
    parser.add_argument(
        "--format",
        choices=DICOM_FORMATS,
        metavar="NAME",
        action="append",
        help=f"what to store: {', '.join(DICOM_FORMATS)}; repeat it for several (default: dicom-seg)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only count, and print an estimate; retrieve no image")
    parser.add_argument("--again", action="store_true", help="also segment images that have a result")
    parser.add_argument(
        "--store-rejected", action="store_true", help="also store results of images whose verdict is reject"
    )
    parser.add_argument(
        "--workers", type=positive_int, default=4, metavar="N", help="studies at a time (default: %(default)s)"
    )
    add_options(parser)
    add_model(parser)
    parser.add_argument("--report", type=Path, metavar="run.json", help="also write counts and reasons")
    parser.add_argument(
        "--details",
        type=Path,
        metavar="look.csv",
        help="also write a list of the images that failed or were not accepted, with their UIDs; only you can read it",
    )
    parser.add_argument(
        "--watch", action="store_true", help="then repeat the search until Ctrl-C or SIGTERM; see --every"
    )
    parser.add_argument(
        "--every",
        type=positive_int,
        default=60,
        metavar="SECONDS",
        help="time between two searches of --watch (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    if arguments.watch and arguments.dry_run:
        raise CommandError("--dry-run counts once; drop --watch")
    for name in ("report", "details"):
        path = getattr(arguments, name)
        if path and (path.is_dir() or not resolve_path(path).parent.is_dir()):
            raise CommandError(f"--{name} must name a file in an existing folder")
    for package in DICOMWEB_PACKAGES:
        require_package(package)
    search, access = read_search(arguments), read_access(arguments)
    use_model(arguments)
    slots = min(arguments.workers, core_count())
    models = _load_models(core_count() // slots)

    from lungseg.dicomweb.archive import ImageArchive
    from lungseg.dicomweb.detail_list import DetailList
    from lungseg.dicomweb.image_job import ImageWorker
    from lungseg.dicomweb.results import ResultRecipe
    from lungseg.dicomweb.runner import ArchiveRunner, RunPlan
    from lungseg.dicomweb.study_plan import PlanRules

    options = read_options(arguments)
    formats = tuple(dict.fromkeys(arguments.format or ["dicom-seg"]))
    rules = PlanRules(search.modalities, arguments.any_body_part, arguments.again)
    plan = RunPlan(search, ResultRecipe.of(formats, models, options), rules, arguments.workers, arguments.dry_run)
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal())
        stack.enter_context(warnings.catch_warnings(action="ignore"))  # those of pydicom quote values

        def pause(seconds: float) -> bool:
            stop.sleep(seconds)
            return not stop.is_requested

        worker = ImageWorker(ImageArchive(access, pause), models, options, Semaphore(slots), arguments.store_rejected)
        details = stack.enter_context(DetailList(arguments.details)) if arguments.details else None
        runner = ArchiveRunner(plan, worker, stop, details)
        try:
            if arguments.watch:
                runner.run_watch(arguments.every, lambda: _show_news(runner, arguments.report))
            else:
                runner.run_once()
        except KeyboardInterrupt:
            print_status("error: interrupted")
            os._exit(EXIT_INTERRUPTED)  # at its end, Python would wait for the requests that are under way
        finally:
            has_report = _finish(runner, arguments.report)
    if stop.is_requested and not arguments.watch:
        print_status("interrupted; run the same command again to continue")
        return EXIT_INTERRUPTED
    if runner.counts.failed or not has_report:
        return EXIT_FAILED
    return EXIT_DOUBTFUL if arguments.strict and runner.counts.doubtful else EXIT_DONE


def _show_news(runner: ArchiveRunner, report: Path | None) -> None:
    """Print a line, and update the report."""
    from lungseg.dicomweb.run_report import counts_line

    print_status(counts_line(runner))
    _write_report(runner, report)


def _load_models(threads: int) -> Models:
    """Return the models of this process, for images that are segmented at a time on so many threads each.

    Raises:
        ModelError.
    """
    named = settings.MODEL.read(LUNG_WEIGHTS.stem)
    return Models(open_lung(named, settings.THREADS.read(threads)))


def _finish(runner: ArchiveRunner, report: Path | None) -> bool:
    """Print the summary, and write the report; return whether it could be written."""
    from lungseg.dicomweb.run_report import summary_lines

    for line in summary_lines(runner):
        print_status(line)
    return _write_report(runner, report)


def _write_report(runner: ArchiveRunner, report: Path | None) -> bool:
    """Write the report, if one is wanted; return False if it cannot be written."""
    from lungseg.dicomweb.run_report import write_run_report

    try:
        if report is not None:
            write_run_report(report, runner)
    except OSError as error:
        print_status(f"failed: the report cannot be written ({error.strerror})")
        return False
    return True
