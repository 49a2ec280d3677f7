"""`pacs status` and `pacs retry`: look after the queue of a DICOM node, whether it runs or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg import settings
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    CommandError,
    CommandParsers,
    exit_codes,
    positive_int,
)
from lungseg.pacs.node_config import DEFAULT_NODE_FOLDER
from lungseg.terminal import print_status

if TYPE_CHECKING:
    from lungseg.pacs.queue_database import QueueDatabase

PACS_STATUS_DESCRIPTION = """\
Print how many images and results are in which state, how old the oldest is, and
the dead letters: images and results that the node gave up on, by id and reason.
Nothing that is printed identifies a patient.
"""

PACS_STATUS_EXAMPLES = """\
examples:
  lungseg pacs status             of the queue in ./lungseg-pacs
  lungseg pacs status --json      the same for programs
  lungseg pacs status --folder /var/lib/lungseg

"""

PACS_RETRY_EXAMPLES = """\
examples:
  lungseg pacs retry 17           image 17, or its results
  lungseg pacs retry --all        all dead letters

"""

QUEUE_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done",
        EXIT_FAILED: "the queue cannot be read or written",
        EXIT_REFUSED: "the command line is invalid, there is no queue, or no such dead letter",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the parsers of both commands."""
    status = commands.add_parser(
        "status",
        help="print what is queued and what failed",
        description=PACS_STATUS_DESCRIPTION,
        epilog=PACS_STATUS_EXAMPLES + QUEUE_EXIT_CODES,
    )
    add_folder(status)
    status.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    status.set_defaults(run=run_status)
    retry = commands.add_parser(
        "retry",
        help="queue dead letters again",
        description="Queue dead letters again, as if they had never been tried. A running node\n"
        "notices within seconds.",
        epilog=PACS_RETRY_EXAMPLES + QUEUE_EXIT_CODES,
    )
    add_folder(retry)
    retry.add_argument(
        "number", metavar="ID", nargs="?", type=positive_int, help="id, as `lungseg pacs status` prints it"
    )
    retry.add_argument("--all", action="store_true", help="all dead letters")
    retry.set_defaults(run=run_retry)


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add --folder, which `read_folder` reads."""
    parser.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help=f"folder of the queue (default: LUNG_PACS_FOLDER, else {DEFAULT_NODE_FOLDER})",
    )


def read_folder(arguments: argparse.Namespace) -> Path:
    """Return the folder of the queue."""
    return Path(arguments.folder or settings.PACS_FOLDER.read(str(DEFAULT_NODE_FOLDER)))


def run_status(arguments: argparse.Namespace) -> int:
    """Run `pacs status`; return its exit code."""
    from lungseg.pacs.queue_report import read_report

    with _open_queue(arguments) as database:
        report = read_report(database)
    if arguments.json:
        json.dump(report.document(), sys.stdout, indent=2)
        print()
    else:
        print("\n".join(report.lines()))
    sys.stdout.flush()
    return EXIT_DONE


def run_retry(arguments: argparse.Namespace) -> int:
    """Run `pacs retry`; return its exit code."""
    from lungseg.pacs.queue_report import revive_letters

    if arguments.all == (arguments.number is not None):
        raise CommandError("name one id, or --all")
    with _open_queue(arguments) as database:
        count = revive_letters(database, arguments.number)
    if not count and not arguments.all:
        raise CommandError(f"there is no dead letter {arguments.number}; `lungseg pacs status` lists them")
    print_status(f"{count} queued again")
    return EXIT_DONE


@contextmanager
def _open_queue(arguments: argparse.Namespace) -> Iterator[QueueDatabase]:
    """Yield the queue's database.

    Raises:
        CommandError: there is none, or it cannot be used.
    """
    from lungseg.pacs.queue_database import DATABASE_NAME, QueueDatabase

    path = read_folder(arguments) / DATABASE_NAME
    if not path.is_file():
        raise CommandError("there is no queue in this folder; name the node's with --folder")
    try:
        database = QueueDatabase(path)
        try:
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        raise CommandError(
            f"the queue cannot be used ({type(error).__name__}); check the folder's permissions"
        ) from None
