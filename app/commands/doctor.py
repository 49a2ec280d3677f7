"""`doctor`: does this installation work?"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from app.commands.common import DONE, FAILED, Commands
from app.doctor import examine

EPILOG = """\
examples:
  python -m app doctor            a line for each check, and what to do where one is not ok
  python -m app doctor --json     the same for a program

exit codes:
  0  every check is ok, or warns of what costs time at most
  1  a check failed
"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "doctor",
        help="does this installation work?",
        description="Check this installation: Python, packages, a decoder for every format and transfer syntax, "
        "models, outputs, memory,\nprocessor and threads. A drawing is segmented; no film is needed.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    checks = []
    for check in examine():
        checks.append(check)
        if not arguments.json:
            remedy = f" {check.remedy}" if check.remedy else ""
            print(f"{check.state:<8} {check.name}: {check.text}.{remedy}")
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        json.dump({"ok": not failed, "checks": [asdict(check) for check in checks]}, sys.stdout, indent=2)
        print()
    sys.stdout.flush()
    return FAILED if failed else DONE
