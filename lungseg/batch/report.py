"""Write the reports on a folder: `run.json` for programs (--report), and the table of measurements (--csv).

Both are written from the manifest, one image at a time, and include images that an earlier run processed.
"""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import onnxruntime

from lungseg import __version__
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.plan import BatchSpec
from lungseg.batch.table import TABLE_COLUMNS
from lungseg.batch.tally import Tally
from lungseg.files import replacement_file
from lungseg.model.lung import ModelIdentity
from lungseg.model.models import Models
from lungseg.pipeline.reasons import Decision

FAILED = "failed"
"""In place of a verdict, for an image that could not be segmented."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a formula, full-width ones included: https://owasp.org/www-community/attacks/CSV_Injection"""


def run_summary(tally: Tally, spec: BatchSpec, models: Models) -> dict[str, Any]:
    """Return what run.json says about all images together, without the times."""
    return {
        "counts": {
            "images": tally.images,
            "segmented": tally.segmented,
            "done_before": tally.done_before,
            FAILED: tally.failed,
            **tally.verdicts,
        },
        "reasons": dict(tally.reasons.most_common()),
        "failures": dict(tally.failures.most_common()),
        "omitted_formats": dict(tally.omitted.most_common()),
        "in": str(spec.source),
        "out": str(spec.target),
        "formats": list(spec.formats),
        "options": asdict(spec.options),
        "model": asdict(ModelIdentity.of(models.lung)),
        "view_model": {"sha256": models.view.sha256},
        "versions": {
            "program": __version__,
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
        },
    }


def write_report(path: Path, summary: dict[str, Any], entries: Iterator[Entry]) -> None:
    """Write run.json: the summary, and under "images" one member for each image that failed or was not accepted.

    Raises:
        OSError.
    """
    with replacement_file(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(summary, indent=2).removesuffix("\n}") + ',\n  "images": [')
        separator = "\n    "
        for entry in entries:
            if isinstance(entry.outcome, Failure) or entry.outcome["verdict"] != Decision.ACCEPT:
                file.write(separator + json.dumps(_member(entry)))
                separator = ",\n    "
        file.write("\n  ]\n}\n")


def write_table(path: Path, entries: Iterator[Entry]) -> None:
    """Write the table: one line for each image, in the folder's order. The reason of a failed image is its error code.

    Raises:
        OSError.
    """
    with replacement_file(path) as partial, _open_table(partial) as file:
        table = csv.DictWriter(file, TABLE_COLUMNS, restval="")
        table.writeheader()
        for entry in entries:
            outcome = entry.outcome
            row = {"verdict": FAILED, "reasons": outcome.code} if isinstance(outcome, Failure) else outcome
            table.writerow({name: _escape(value) for name, value in ({"path": entry.path} | row).items()})


def escape_formula(text: str) -> str:
    """Return a text that spreadsheets do not compute: one that looks like a formula gets an apostrophe in front."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _open_table(path: Path) -> IO[str]:
    # File names need not be valid text.
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


def _escape(value: object) -> object:
    return escape_formula(value) if isinstance(value, str) else value


def _member(entry: Entry) -> dict[str, Any]:
    outcome = entry.outcome
    if isinstance(outcome, Failure):
        return {"path": entry.path, "outcome": FAILED, **asdict(outcome)}
    return {"path": entry.path, "outcome": outcome["verdict"], "reasons": outcome["reasons"].split()}
