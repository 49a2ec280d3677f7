"""`info`: what this program and its models are."""

from __future__ import annotations

import argparse
import json
import sys

from lungseg.cli.common import DONE, Commands

EPILOG = """\
examples:
  python -m lungseg info               version, models, formats and limits
  python -m lungseg info --json        the same for a program, with the models' whole cards
"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "info",
        help="version, models, formats and limits",
        description="What this program is, which models it serves and what they were trained on, which formats it "
        "reads and writes,\nand its limits.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    from lungseg.doctor.about import about, lines  # with every codec, which other commands need not load

    facts = about()
    if arguments.json:
        facts["model"].pop("self_check")
        json.dump(facts, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(lines(facts)))
    sys.stdout.flush()
    return DONE
