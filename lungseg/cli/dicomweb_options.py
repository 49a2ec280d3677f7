"""Which studies `dicomweb` looks at, and how it reaches the server."""

from __future__ import annotations

import argparse
import ssl
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lungseg.cli.common import CommandError, positive_int

if TYPE_CHECKING:
    from lungseg.dicomweb.search import StudySearch
    from lungseg.dicomweb.session import ServerAccess

MAX_PATIENTS_TEXT = 2**20
"""Characters of a list of Patient IDs."""


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `read_search` reads."""
    group = parser.add_argument_group("search")
    group.add_argument("--since", type=_date, metavar="DATE", help="first study date, such as 2026-01-31")
    group.add_argument("--until", type=_date, metavar="DATE", help="last study date")
    group.add_argument("--study", metavar="UID", action="append", help="a Study Instance UID; repeat it for several")
    group.add_argument(
        "--patients",
        metavar="FILE|-",
        help="a file of Patient IDs, one a line; - is standard input. A command line would show them to other users of "
        "this machine; the search's URL contains them",
    )
    group.add_argument("--description", metavar="TEXT", default="", help="study description; * and ? are wildcards")
    group.add_argument("--all", action="store_true", help="the whole archive: needed without a date, study or patient")
    group.add_argument(
        "--modality",
        metavar="CODE",
        action="append",
        help="of the images' series; repeat it for several (default: CR and DX)",
    )
    group.add_argument("--any-body-part", action="store_true", help="ignore the body part that headers state")
    group.add_argument("--limit", type=positive_int, metavar="N", help="most studies to look at")


def add_access(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `read_access` reads."""
    group = parser.add_argument_group("access")
    group.add_argument("--password-file", type=Path, metavar="FILE", help="one line, user:password")
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a bearer token; read for every request, because tokens expire"
    )
    group.add_argument("--ca-file", type=Path, metavar="PEM", help="certificates of authorities to trust")
    group.add_argument(
        "--client-cert", type=Path, metavar="PEM", help="client certificate, with its key unless --client-key is given"
    )
    group.add_argument("--client-key", type=Path, metavar="PEM", help="key of the client certificate, unencrypted")
    group.add_argument(
        "--allow-http", action="store_true", help="send credentials unencrypted, in a network that you trust"
    )
    group.add_argument("--rate", type=_rate, metavar="N", help="most requests a second (default: no limit)")
    group.add_argument(
        "--timeout",
        type=positive_int,
        default=60,
        metavar="SECONDS",
        help="how long the server may be silent (default: %(default)s)",
    )


def read_search(arguments: argparse.Namespace) -> StudySearch:
    """Return what to search for.

    Raises:
        CommandError: nothing limits the search, or a criterion is malformed.
    """
    from lungseg.dicomweb.search import StudySearch
    from lungseg.dicomweb.study_plan import DEFAULT_MODALITIES
    from lungseg.encode.dicom_elements import UID_PATTERN

    if not (arguments.since or arguments.until or arguments.study or arguments.patients or arguments.all):
        raise CommandError("name --since, --until, --study or --patients, or --all for the whole archive")
    if arguments.since and arguments.until and arguments.since > arguments.until:
        raise CommandError("--since is after --until")
    studies = tuple(dict.fromkeys(arguments.study or ()))
    if not all(map(UID_PATTERN.fullmatch, studies)):
        raise CommandError("--study is not a UID: digits and dots, at most 64")
    return StudySearch(
        arguments.since,
        arguments.until,
        tuple(dict.fromkeys(each.upper() for each in arguments.modality or DEFAULT_MODALITIES)),
        arguments.description,
        studies,
        _read_patients(arguments.patients) if arguments.patients else (),
        arguments.limit,
    )


def read_access(arguments: argparse.Namespace) -> ServerAccess:
    """Return how to reach the server.

    Raises:
        CommandError: a file does not exist.
        DicomwebError: the URL or the credentials cannot be used.
    """
    from lungseg.dicomweb.login import Login, check_server_url
    from lungseg.dicomweb.session import ServerAccess

    for name in ("ca_file", "client_cert", "client_key"):
        path = getattr(arguments, name)
        if path is not None and not path.is_file():
            raise CommandError(f"--{name.replace('_', '-')} does not name a file")
    if arguments.client_key and not arguments.client_cert:
        raise CommandError("--client-key needs --client-cert")
    _check_certificates(arguments)
    login = Login.read(arguments.password_file, arguments.token_file)
    return ServerAccess(
        check_server_url(arguments.url, login, arguments.allow_http),
        login,
        arguments.ca_file,
        arguments.client_cert,
        arguments.client_key,
        arguments.timeout,
        arguments.rate,
    )


def _check_certificates(arguments: argparse.Namespace) -> None:
    """Raise CommandError unless the certificates and the key can be used, which requests would blame on the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if arguments.ca_file:
            context.load_verify_locations(arguments.ca_file)
    except OSError:
        raise CommandError("--ca-file is not a file of certificates in PEM") from None
    try:
        if arguments.client_cert:
            # An empty password, or OpenSSL would ask for the one of an encrypted key.
            context.load_cert_chain(arguments.client_cert, arguments.client_key, password="")
    except OSError:
        raise CommandError("--client-cert and --client-key are no certificate and its unencrypted key in PEM") from None


def _read_patients(name: str) -> tuple[str, ...]:
    try:
        if name == "-":
            text = sys.stdin.read(MAX_PATIENTS_TEXT) if sys.stdin is not None else ""
        else:
            with Path(name).open(encoding="utf-8") as file:
                text = file.read(MAX_PATIENTS_TEXT)
    except (OSError, UnicodeDecodeError):
        raise CommandError("--patients cannot be read; name a text file with one Patient ID a line") from None
    patients = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    if not patients:
        raise CommandError("--patients is empty; it has one Patient ID a line")
    if any("*" in each or "?" in each or "\\" in each for each in patients):
        raise CommandError("a line of --patients contains *, ? or \\, which would match other patients")
    return patients


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31") from None


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, at most 1000")
    return value
