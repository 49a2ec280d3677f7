"""`serve`: run the HTTP service on this machine."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import sys

from lungseg import settings
from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    CommandParsers,
    add_model,
    exit_codes,
    positive_int,
    require_package,
    use_model,
)
from lungseg.model.models import load_models
from lungseg.model.session import core_count
from lungseg.terminal import print_status

GRACE_SECONDS = 15
"""Time for current requests after SIGTERM. Including the work that cannot be stopped then, `serve` ends within 30."""

SERVE_DESCRIPTION = """\
Serve the web page at /, POST /v1/segment, GET /health, and the API
documentation at /docs. There is no authentication and no request log: put an
authenticating proxy in front before you expose the port.
"""

SERVE_EXAMPLES = """\
examples:
  lungseg serve                            http://127.0.0.1:8000; local only
  lungseg serve --host 0.0.0.0 --port 80   for every machine that can reach it
  lungseg serve --workers 4                four processes, which share the cores
  lungseg serve --waiting 100              queue up to 100 images per process
  curl --data-binary @image.dcm http://127.0.0.1:8000/v1/segment -o mask.png

"""

SERVE_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "stopped by Ctrl-C or SIGTERM (the process may also end by that signal)",
        EXIT_FAILED: "the server could not start; standard error says why",
        EXIT_REFUSED: "the command line is invalid; standard error says why",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "serve",
        help="run the HTTP service on this machine",
        description=SERVE_DESCRIPTION,
        epilog=SERVE_EXAMPLES + SERVE_EXIT_CODES,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8000, metavar="PORT", help="port (default: %(default)s)")
    parser.add_argument(
        "--workers", type=positive_int, default=1, metavar="N", help="number of processes (default: %(default)s)"
    )
    parser.add_argument(
        "--concurrent",
        type=positive_int,
        metavar="N",
        help="images that each process segments at a time (default: LUNG_CONCURRENT, else its share of the cores)",
    )
    parser.add_argument(
        "--waiting",
        type=positive_int,
        metavar="N",
        help="images that each process queues; beyond that, the response is 503 (default: LUNG_WAITING, else four for "
        "each image that is segmented at a time)",
    )
    add_model(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    uvicorn = require_package("uvicorn")
    require_package("httptools")
    require_package("fastapi")
    use_model(arguments)
    # These import FastAPI, which is slow. Only a server needs it.
    from lungseg.server import admission, protocol, quiet

    cores = core_count()
    _set_environment(arguments, cores)
    concurrent, _ = admission.read_capacity()
    # Concurrent images with one core each finish sooner than consecutive images with all cores.
    os.environ.setdefault(settings.THREADS.name, str(max(1, cores // (arguments.workers * concurrent))))
    protocol.raise_descriptor_limit()
    load_models()
    if _is_port_taken(arguments.host, arguments.port):
        print_status(f"error: port {arguments.port} is in use; choose another one with --port")
        return EXIT_FAILED
    print_status(f"serving on {_url(arguments.host, arguments.port)}; press Ctrl-C to stop")
    try:
        # The app is named, not passed, so that worker processes can import it.
        # No access log: its lines would contain query strings. No web sockets: uvicorn always logs requests for them.
        uvicorn.run(
            "lungseg.server.api:create_app",
            factory=True,
            host=arguments.host,
            port=arguments.port,
            workers=arguments.workers,
            access_log=False,
            ws="none",
            server_header=False,
            http=protocol.LimitedProtocol,
            backlog=protocol.ACCEPT_BACKLOG,
            timeout_keep_alive=protocol.KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            log_config=quiet.log_config(),
        )
    except SystemExit as end:
        if not end.code:
            return EXIT_DONE
        print_status("error: the server could not start; if the port is in use, choose another one with --port")
        return EXIT_FAILED
    return EXIT_DONE


def _set_environment(arguments: argparse.Namespace, cores: int) -> None:
    """Set this server's variables. Worker processes, which are started later, inherit them."""
    names = [*settings.HOSTS.read([]), "localhost"]
    if arguments.concurrent:
        os.environ[settings.CONCURRENT.name] = str(arguments.concurrent)
    if arguments.waiting is not None:
        os.environ[settings.WAITING.name] = str(arguments.waiting)
    if arguments.host not in ("0.0.0.0", "::"):
        names.append(arguments.host)
    os.environ[settings.HOSTS.name] = " ".join(names)
    os.environ.setdefault(settings.CONCURRENT.name, str(max(1, cores // arguments.workers)))


def _is_port_taken(host: str, port: int) -> bool:
    """Return whether another program listens on the port: uvicorn finds that out only after it has said it started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if sys.platform != "win32":  # where the option would let two programs listen
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE  # uvicorn reports everything else
    return False


def _url(host: str, port: int) -> str:
    """Return the address of the page for a browser on this machine."""
    name = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port number, 1 to 65535")
    return int(text)
