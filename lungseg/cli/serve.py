"""`serve`: the HTTP service on this machine."""

from __future__ import annotations

import argparse
import os

from lungseg import settings
from lungseg.cli.common import DONE, EXIT_CODES, FAILED, Commands, at_least_one, workstation
from lungseg.model.models import load_models
from lungseg.model.session import core_count

GRACE_SECONDS = 15
"""How long requests may go on after SIGTERM; with the work that cannot be stopped then, `serve` ends within 30."""

EXAMPLES = """\
examples:
  python -m lungseg serve                              on http://127.0.0.1:8000, for this machine alone
  python -m lungseg serve --host 0.0.0.0 --port 80     for every machine that reaches this one
  python -m lungseg serve --workers 4                  in four processes, which share the cores
  python -m lungseg serve --waiting 100                images that may wait; those beyond are answered 503
  curl --data-binary @film.dcm http://127.0.0.1:8000/v1/segment -o mask.png

"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "serve",
        help="the HTTP service on this machine",
        description="Serve POST /v1/segment, GET /health and the API's description at /docs. No request is logged, and "
        "nothing is asked of\nwho sends one: let no other machine in without something in front that does.",
        epilog=EXAMPLES + EXIT_CODES,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, metavar="PORT", help="port (default: %(default)s)")
    parser.add_argument("--workers", type=at_least_one, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument(
        "--concurrent",
        type=at_least_one,
        metavar="N",
        help="images that each process works on at a time (default: LUNG_CONCURRENT, else its share of the cores)",
    )
    parser.add_argument(
        "--waiting",
        type=at_least_one,
        metavar="N",
        help="images that may wait in each process; those beyond are answered 503 (default: LUNG_WAITING, else four "
        "for each that is worked on)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    uvicorn = workstation("uvicorn")
    workstation("httptools")
    # With these comes FastAPI, which is slow to import: only a server needs it.
    from lungseg.server import admission, protocol, quiet

    cores = core_count()
    _share(arguments, cores)
    concurrent, _ = admission.places()
    # Images side by side are done sooner with a core each than one after the other with all of them.
    os.environ.setdefault(settings.THREADS.name, str(max(1, cores // (arguments.workers * concurrent))))
    protocol.raise_descriptor_limit()
    load_models()
    try:
        # By its name, for processes of its own.
        # No access log: its lines would hold query strings. No web sockets, which uvicorn logs whatever is asked of it.
        uvicorn.run(
            "lungseg.server.api:create_app",
            factory=True,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            access_log=False,
            ws="none",
            server_header=False,
            http=protocol.Protocol,
            backlog=protocol.BACKLOG,
            timeout_graceful_shutdown=GRACE_SECONDS,
            log_config=quiet.log_config(),
        )
    except SystemExit as end:
        return FAILED if end.code else DONE
    return DONE


def _share(arguments: argparse.Namespace, cores: int) -> None:
    """Part the cores among the processes and the images of each; processes that are started later read it, too."""
    names = [*settings.HOSTS.read([]), "localhost"]
    if arguments.concurrent:
        os.environ[settings.CONCURRENT.name] = str(arguments.concurrent)
    if arguments.waiting is not None:
        os.environ[settings.WAITING.name] = str(arguments.waiting)
    if arguments.host not in ("0.0.0.0", "::"):
        names.append(arguments.host)
    os.environ[settings.HOSTS.name] = " ".join(names)
    os.environ.setdefault(settings.CONCURRENT.name, str(max(1, cores // arguments.workers)))


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 1 to 65535")
    return int(text)
