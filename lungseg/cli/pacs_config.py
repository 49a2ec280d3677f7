"""Options of `pacs serve`, and what they say together with the environment."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lungseg import settings
from lungseg.cli import pacs_queue
from lungseg.cli.common import CommandError, positive_int
from lungseg.encode.formats import DICOM_FORMATS
from lungseg.pacs.node_config import (
    DEFAULT_AE_TITLE,
    DEFAULT_DICOM_PORT,
    NodeConfig,
    RemoteNode,
    TlsFiles,
    check_ae_title,
)

DEFAULT_HTTP_PORT = 8104

T = TypeVar("T")


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `read_config` reads."""
    add = parser.add_argument
    add("--to", type=_remote_node, metavar="AET@HOST:PORT", help="where results are sent (default: LUNG_PACS_TO)")
    add("--aet", type=_ae_title, metavar="AET", help="AE title of the node (default: LUNG_PACS_AET, else LUNGSEG)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=positive_int, metavar="PORT", help="port (default: LUNG_PACS_PORT, else 11112)")
    add(
        "--peer",
        type=_ae_title,
        metavar="AET",
        action="append",
        help="AE title that may send to the node; repeat it for several (default: LUNG_PACS_PEERS, else all)",
    )
    pacs_queue.add_folder(parser)
    add(
        "--format",
        choices=DICOM_FORMATS,
        metavar="NAME",
        action="append",
        help=f"output format to send, of {', '.join(DICOM_FORMATS)}; repeat it for several (default: "
        "LUNG_PACS_FORMATS, else dicom-seg)",
    )
    add(
        "--rejected",
        choices=("skip", "send"),
        default="skip",
        help="whether to send results whose verdict is reject (default: %(default)s)",
    )
    add("--commit", action="store_true", help="ask for storage commitment; an image is kept until it is granted")
    add("--workers", type=positive_int, default=1, metavar="N", help="processes that segment (default: %(default)s)")
    add(
        "--associations",
        type=positive_int,
        default=NodeConfig.max_associations,
        metavar="N",
        help="associations at a time; beyond it, they are rejected (default: %(default)s)",
    )
    add(
        "--max-queue",
        type=positive_int,
        default=NodeConfig.max_queued,
        metavar="N",
        help="images that wait; beyond it, the answer is Out of Resources (default: %(default)s)",
    )
    add(
        "--min-free",
        type=positive_int,
        default=NodeConfig.min_free_bytes // 2**20,
        metavar="MB",
        help="free space on the disk of --folder; below it, likewise (default: %(default)s)",
    )
    add(
        "--tries",
        type=positive_int,
        default=NodeConfig.max_tries,
        metavar="N",
        help="tries of an image or a result before it is a dead letter (default: %(default)s)",
    )
    add(
        "--http-port",
        type=positive_int,
        default=DEFAULT_HTTP_PORT,
        metavar="PORT",
        help="port of /health and /metrics (default: %(default)s)",
    )
    add("--http-host", default=NodeConfig.http_host, metavar="HOST", help="address of these (default: %(default)s)")
    add("--tls-cert", type=Path, metavar="PEM", help="certificate of the node; it then takes TLS only")
    add("--tls-key", type=Path, metavar="PEM", help="its private key")
    add("--tls-ca", type=Path, metavar="PEM", help="certificate authorities; peers then need a certificate of theirs")
    add("--to-tls", action="store_true", help="send results by TLS")


def read_config(arguments: argparse.Namespace) -> NodeConfig:
    """Return the choices of the command line, and of the environment where it makes none.

    Raises:
        CommandError: a choice is missing, or contradicts another.
        ModelError: an environment variable is malformed.
    """
    destination = arguments.to or _read_variable(settings.PACS_DESTINATION, RemoteNode.parse)
    if destination is None:
        raise CommandError("--to is missing; name the PACS as AET@HOST:PORT")
    formats = arguments.format or settings.PACS_FORMATS.read(["dicom-seg"])
    if unknown := [name for name in formats if name not in DICOM_FORMATS]:
        raise CommandError(f"{unknown[0]!r} in LUNG_PACS_FORMATS is none of {', '.join(DICOM_FORMATS)}")
    peers = arguments.peer or _read_variable(
        settings.PACS_PEERS, lambda text: [check_ae_title(each) for each in text.split(",")]
    )
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        raise CommandError("--tls-cert and --tls-key belong together; name both")
    if arguments.tls_ca and not arguments.tls_cert:
        raise CommandError("--tls-ca needs --tls-cert and --tls-key")
    for name in ("tls_cert", "tls_key", "tls_ca"):
        path = getattr(arguments, name)
        if path is not None and not path.is_file():
            raise CommandError(f"--{name.replace('_', '-')} must name a PEM file, and there is none of this name")
    tls = TlsFiles(arguments.tls_cert, arguments.tls_key, arguments.tls_ca) if arguments.tls_cert else None
    return NodeConfig(
        folder=pacs_queue.read_folder(arguments),
        destination=destination,
        formats=tuple(dict.fromkeys(formats)),
        ae_title=arguments.aet or _read_variable(settings.PACS_AE_TITLE, check_ae_title) or DEFAULT_AE_TITLE,
        host=arguments.host,
        port=arguments.port or settings.PACS_PORT.read(DEFAULT_DICOM_PORT),
        peers=frozenset(peers or ()),
        sends_rejected=arguments.rejected == "send",
        commits=arguments.commit,
        workers=arguments.workers,
        max_associations=arguments.associations,
        max_queued=arguments.max_queue,
        min_free_bytes=arguments.min_free * 2**20,
        max_tries=arguments.tries,
        http_host=arguments.http_host,
        http_port=arguments.http_port,
        tls=tls,
        has_tls_destination=arguments.to_tls,
    )


def _read_variable(setting: settings.Setting[str], parse: Callable[[str], T]) -> T | None:
    """Return the value of an environment variable; None if it is not set."""
    text = setting.read(None)
    try:
        return None if text is None else parse(text)
    except ValueError as error:
        raise CommandError(f"{setting.name}: {error}") from None


def _remote_node(text: str) -> RemoteNode:
    try:
        return RemoteNode.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _ae_title(text: str) -> str:
    try:
        return check_ae_title(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
