"""`info`: print what this program and its models are."""

from __future__ import annotations

import argparse
import json
import sys

from lungseg.cli.common import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, CommandParsers, exit_codes

INFO_DESCRIPTION = """\
Print the version, the models and what they were trained on, the formats that
are read and written, and the limits.
"""

INFO_EXAMPLES = """\
examples:
  lungseg info            version, models, formats and limits
  lungseg info --json     the same for programs, with the complete model cards

"""

INFO_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done",
        EXIT_FAILED: "a model cannot be loaded, or internal error",
        EXIT_REFUSED: "the command line is invalid; standard error says why",
        EXIT_INTERRUPTED: "interrupted",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "info",
        help="print version, models, formats and limits",
        description=INFO_DESCRIPTION,
        epilog=INFO_EXAMPLES + INFO_EXIT_CODES,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    from lungseg.doctor.about import about, lines  # with every codec, which other commands need not load

    facts = about()
    if arguments.json:
        facts["model"].pop("self_check")
        json.dump(facts, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(lines(facts)))
    sys.stdout.flush()
    return EXIT_DONE
