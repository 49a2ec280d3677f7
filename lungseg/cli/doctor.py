"""`doctor`: does this installation work, or a service that was deployed?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from lungseg.cli.common import DONE, FAILED, CommandError, Commands
from lungseg.cli.connection import ENVIRONMENT, add_connection, connect, stack_of
from lungseg.doctor.installation import CheckResult, check_installation

EPILOG = f"""\
examples:
  python -m lungseg doctor                              a line for each check, and what to do where one is not ok
  python -m lungseg doctor --json                       the same for a program
  python -m lungseg doctor --stack lungs                a stack on AWS: its API, buckets, queues and function
  python -m lungseg doctor --url http://127.0.0.1:8000  a service, as far as HTTP tells

{ENVIRONMENT}exit codes:
  0  every check is ok, or warns of what costs time at most
  1  a check failed
  2  the command line, or the stack, was refused
"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "doctor",
        help="does this installation work, or a service?",
        description="Check this installation: Python, packages, a decoder for every format and transfer syntax, "
        "models, outputs, memory,\nprocessor and threads. A drawing is segmented; no image is needed.\n\n"
        "With --stack or --url, check a service instead: authorisation, binary mode, payload limits, model and jobs; "
        "of a\nstack also its outputs, buckets, trigger and dead letters. About 10 MB are sent.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    add_connection(parser, required=False)
    parser.add_argument(
        "--job",
        action="store_true",
        help="also send a drawing through a job; it stays in the buckets until their lifecycle deletes it",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    checks = []
    for check in _checks(arguments):
        checks.append(check)
        if not arguments.json:
            remedy = f" {check.remedy}" if check.remedy else ""
            print(f"{check.state:<8} {check.name}: {check.text}.{remedy}", flush=True)
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        json.dump({"ok": not failed, "checks": [asdict(check) for check in checks]}, sys.stdout, indent=2)
        print()
    sys.stdout.flush()
    return FAILED if failed else DONE


def _checks(arguments: argparse.Namespace) -> Iterator[CheckResult]:
    if arguments.url is None and arguments.stack is None:
        if arguments.api_key or arguments.sign or arguments.region or arguments.job:
            raise CommandError("--api-key, --sign, --region and --job are for --stack or --url")
        return check_installation()
    return _service(arguments)


def _service(arguments: argparse.Namespace) -> Iterator[CheckResult]:
    stack = stack_of(arguments)
    if stack is not None:
        from lungseg.doctor.stack import check_stack

        for check in check_stack(stack):
            yield check
            if (check.name, check.state) == ("stack outputs", "failed"):
                return
    with connect(arguments, stack) as service:
        from lungseg.doctor.service import check_service

        yield from check_service(service, deployed=stack is not None, job=arguments.job)
