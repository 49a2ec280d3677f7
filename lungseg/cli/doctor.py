"""`doctor`: check this installation, or a deployed service."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    CommandError,
    CommandParsers,
    exit_codes,
)
from lungseg.cli.connection import ENVIRONMENT, add_connection, connect_service, find_stack
from lungseg.doctor.installation import CheckResult, check_installation
from lungseg.terminal import color_word

DOCTOR_DESCRIPTION = """\
Check this installation: Python, packages, a decoder for every format and
transfer syntax, models, outputs, memory, processor and threads. A test pattern
is segmented; no image is needed.

With --stack or --url, check a service instead: authorization, binary responses,
payload limits, model and jobs; for a stack, also its outputs, buckets, trigger
and dead-letter queue. This sends about 10 MB.
"""

DOCTOR_EXAMPLES = """\
examples:
  lungseg doctor                  one line for each check, remedies included
  lungseg doctor --json           the same for programs
  lungseg doctor --stack lungs    a stack on AWS: API, buckets, queues, function
  lungseg doctor --url http://127.0.0.1:8000
                                  a service, as far as HTTP can tell

"""

DOCTOR_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "no check failed; a warning costs time at most",
        EXIT_FAILED: "a check failed",
        EXIT_REFUSED: "the command line is invalid, or the stack cannot be read",
        EXIT_INTERRUPTED: "interrupted",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "doctor",
        help="check this installation, or a service",
        description=DOCTOR_DESCRIPTION,
        epilog=DOCTOR_EXAMPLES + ENVIRONMENT + DOCTOR_EXIT_CODES,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    add_connection(parser, required=False)
    parser.add_argument(
        "--job",
        action="store_true",
        help="also process a test pattern as a job; it stays in the buckets until their lifecycle rules delete it",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    checks = []
    for check in _run_checks(arguments):
        checks.append(check)
        if not arguments.json:
            remedy = f" {check.remedy}" if check.remedy else ""
            print(f"{color_word(f'{check.state:<8}', sys.stdout)} {check.name}: {check.text}.{remedy}", flush=True)
    failed = sum(check.state == "failed" for check in checks)
    if arguments.json:
        json.dump({"ok": not failed, "checks": [asdict(check) for check in checks]}, sys.stdout, indent=2)
        print()
    else:
        warnings = sum(check.state == "warning" for check in checks)
        print(f"{_count(len(checks), 'check')}: {failed} failed, {_count(warnings, 'warning')}")
    sys.stdout.flush()
    return EXIT_FAILED if failed else EXIT_DONE


def _run_checks(arguments: argparse.Namespace) -> Iterator[CheckResult]:
    if arguments.url is None and arguments.stack is None:
        if arguments.api_key or arguments.sign or arguments.region or arguments.job:
            raise CommandError("--api-key, --sign, --region and --job need --stack or --url")
        return check_installation()
    return _check_remote(arguments)


def _check_remote(arguments: argparse.Namespace) -> Iterator[CheckResult]:
    stack = find_stack(arguments)
    if stack is not None:
        from lungseg.doctor.stack import check_stack

        for check in check_stack(stack):
            yield check
            if (check.name, check.state) == ("stack outputs", "failed"):
                return
    with connect_service(arguments, stack) as service:
        from lungseg.doctor.service import check_service

        yield from check_service(service, deployed=stack is not None, job=arguments.job)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
