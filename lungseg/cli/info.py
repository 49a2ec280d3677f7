"""`info`: print what this program and its models are."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from typing import Any

from lungseg import __version__, limits
from lungseg.cli.common import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REFUSED, CommandParsers, exit_codes
from lungseg.encode.formats import FORMATS

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
    facts = read_facts()
    if arguments.json:
        facts["model"].pop("self_check")
        json.dump(facts, sys.stdout, indent=2)
        print()
    else:
        print("\n".join(fact_lines(facts)))
    sys.stdout.flush()
    return EXIT_DONE


def read_facts() -> dict[str, Any]:
    """Return version, model cards, formats, limits, processor and threads.

    Raises:
        ModelError: a model cannot be loaded.
    """
    # Imported here, because other commands need neither the models nor every codec.
    from lungseg.decode.formats import IMAGE_FORMATS
    from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
    from lungseg.model import processor
    from lungseg.model.models import load_models
    from lungseg.model.session import thread_count

    models = load_models()
    model, view = models.lung, models.view
    return {
        "version": __version__,
        "model": asdict(model.card) | {"sha256": model.sha256, "precision_reason": model.precision_reason},
        "view_model": view.card | {"sha256": view.sha256},
        "reads": {
            "pictures": [each.name.upper() for each in IMAGE_FORMATS if each.name != "DICOM"],
            "dicom_transfer_syntaxes": {str(syntax): syntax.name for syntax in TRANSFER_SYNTAXES},
        },
        "writes": {output_format.name: output_format.meaning for output_format in FORMATS.values()},
        "limits": {
            "bytes": limits.MAX_BYTES,
            "pixels": limits.MAX_PIXELS,
            "longest_side": limits.MAX_SIDE,
            "shortest_side": limits.MIN_SIDE,
        },
        "processor": processor.describe_processor(),
        "threads": thread_count(),
    }


def fact_lines(facts: dict[str, Any]) -> list[str]:
    """Return the facts as text."""
    model, view, limit = facts["model"], facts["view_model"], facts["limits"]
    training = model["training"]
    trained_on = [f"{training['films']} images"] if "films" in training else []
    trained_on += [" and ".join(training["sources"])] if training.get("sources") else []
    dice = model["metrics"].get("validation_dice", {})
    scores = ", ".join(f"{source} {value:.4f}" for source, value in dice.items())
    return [
        f"version: {facts['version']}",
        f"model: {model['name']}, {model['precision']}, sha256 {model['sha256']}",
        f"precision: {model['precision']}, because {model['precision_reason'].text}",
        f"trained on: {', '.join(trained_on) or 'not in the model card'}",
        *([f"validation Dice: {scores}"] if scores else []),
        f"view model: {view['name']}, sha256 {view['sha256']}",
        f"processor: {facts['processor']}",
        f"threads per image: {facts['threads']}",
        f"reads: {', '.join(facts['reads']['pictures'])}, and DICOM:",
        *(f"  {name}" for name in facts["reads"]["dicom_transfer_syntaxes"].values()),
        "writes:",
        *(f"  {name:<12} {meaning}" for name, meaning in facts["writes"].items()),
        f"limits: {limit['bytes']:,} bytes, {limit['pixels']:,} pixels, sides of {limit['shortest_side']} to "
        f"{limit['longest_side']:,}",
    ]
