"""`pacs`: a DICOM node; `pacs serve` runs it."""

from __future__ import annotations

import argparse
import logging
import sqlite3
import sys

from lungseg.cli import pacs_queue
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    CommandError,
    CommandParsers,
    add_model,
    exit_codes,
    require_package,
    use_model,
)
from lungseg.cli.pacs_config import add_node_options, read_config
from lungseg.terminal import escape_name, print_status

WATCH_SECONDS = 0.5

PACS_EXAMPLES = """\
examples:
  lungseg pacs serve --to PACS@pacs.example.org:104   run the node
  lungseg pacs status                                 what is queued, or failed
  lungseg pacs retry --all                            try dead letters again
  lungseg pacs serve --help                           more about one command

"""

PACS_SERVE_DESCRIPTION = """\
Receive chest X-rays by DICOM (C-STORE), segment them, and send the results to a
PACS. An image is acknowledged once it is on the disk and in a queue, so nothing
that was accepted is lost if the node is killed. By header, only CR, DX and SC
images of the chest that are not lateral are segmented; the others, and those
whose verdict is reject, are left alone and counted. A result that the PACS
refuses is sent again after growing pauses, and becomes a dead letter after
--tries; while the PACS cannot be reached, results wait.

Patients' data is in --folder until the results are stored; the log has none.
Without --peer, every node that reaches the port may send. Without --tls-cert,
nothing is encrypted.
"""

PACS_SERVE_EXAMPLES = """\
examples:
  lungseg pacs serve --to PACS@127.0.0.1:4242        listen on port 11112, this
                                                     machine only
  lungseg pacs serve --to PACS@pacs:104 --host 0.0.0.0 --peer CR1 --peer PACS
                                                     these two may send to it
  lungseg pacs serve --to PACS@pacs:104 --commit     with storage commitment
  lungseg pacs serve --to PACS@pacs:2762 --to-tls --tls-cert node.pem \\
      --tls-key node.key --tls-ca hospital.pem       TLS with certificates on
                                                     both sides
  curl http://127.0.0.1:8104/metrics                 counts for Prometheus

"""

PACS_SERVE_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "stopped by Ctrl-C or SIGTERM",
        EXIT_FAILED: "the node could not start, or a part of it stopped; standard error says why",
        EXIT_REFUSED: "the command line is invalid; standard error says why",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the parsers of the command and its subcommands."""
    parser = commands.add_parser(
        "pacs",
        help="a DICOM node between modalities and a PACS",
        description="Run a DICOM node that segments what it receives, and look after its queue.",
        epilog=PACS_EXAMPLES + pacs_queue.QUEUE_EXIT_CODES,
    )
    parser.set_defaults(run=lambda _: parser.print_help() or EXIT_DONE)
    inner = parser.add_subparsers(metavar="COMMAND")
    _add_serve(inner)
    pacs_queue.add(inner)


def _add_serve(commands: CommandParsers) -> None:
    parser = commands.add_parser(
        "serve",
        help="run the node",
        description=PACS_SERVE_DESCRIPTION,
        epilog=PACS_SERVE_EXAMPLES + PACS_SERVE_EXIT_CODES,
    )
    add_node_options(parser)
    add_model(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    require_package("pynetdicom")
    require_package("prometheus_client")
    use_model(arguments)
    config = read_config(arguments)
    from lungseg.batch.stop import StopSignal
    from lungseg.pacs.node import DicomNode
    from lungseg.pacs.spool import NodeFolderInUse

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    logging.getLogger("lungseg.pacs").setLevel(logging.INFO)
    with StopSignal() as stop:
        try:
            node = DicomNode(config)
        except NodeFolderInUse:
            raise CommandError("another node uses this folder; stop it, or name another one with --folder") from None
        except sqlite3.Error as error:
            print_status(f"error: the queue in --folder cannot be opened ({type(error).__name__}); check the folder")
            return EXIT_FAILED
        except OSError as error:
            print_status(f"error: the node could not start: {escape_name(error.strerror or type(error).__name__)}")
            return EXIT_FAILED
        print_status(
            f"{config.ae_title} receives on {config.host}:{node.port} and sends to {config.destination.ae_title}; "
            "press Ctrl-C to stop"
        )
        is_healthy = True
        while is_healthy and not stop.is_requested:
            stop.sleep(WATCH_SECONDS)
            is_healthy = node.is_healthy
        node.close()
    if not is_healthy:
        print_status("error: a part of the node stopped; start it again")
        return EXIT_FAILED
    print_status("stopped")
    return EXIT_DONE
