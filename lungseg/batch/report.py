"""What became of every image of a folder: `run.json` for programs, and a table of measurements.

Both are written from the manifest, one image after the other, and cover images that an earlier run has done.
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
from lungseg.batch.entry import Entry
from lungseg.batch.process import BatchSpec
from lungseg.batch.table import TABLE_COLUMNS
from lungseg.batch.tally import Tally
from lungseg.files import replaced
from lungseg.model.lung import LungNetwork, ModelIdentity
from lungseg.model.view import ViewNetwork
from lungseg.pipeline.verdict import Decision

FAILED = "failed"


def run_summary(tally: Tally, order: BatchSpec, model: LungNetwork, view: ViewNetwork) -> dict[str, Any]:
    """What run.json says of all images together, but for times."""
    return {
        "counts": {
            "films": tally.films,
            "segmented": tally.segmented,
            "done_before": tally.before,
            FAILED: tally.failed,
            **tally.verdicts,
        },
        "reasons": dict(tally.reasons.most_common()),
        "failures": dict(tally.failures.most_common()),
        "omitted_formats": dict(tally.omitted.most_common()),
        "in": str(order.source),
        "out": str(order.target),
        "formats": list(order.formats),
        "options": asdict(order.options),
        "model": asdict(ModelIdentity.of(model)),
        "view_model": {"sha256": view.sha256},
        "versions": {
            "program": __version__,
            "python": platform.python_version(),
            "onnxruntime": onnxruntime.__version__,
        },
    }


def write_report(path: Path, head: dict[str, Any], entries: Iterator[Entry]) -> None:
    """Write run.json: ``head``, and under "images" one member for each image that failed or was not accepted.

    Raises:
        OSError.
    """
    with replaced(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, indent=2).removesuffix("\n}") + ',\n  "films": [')
        separator = "\n    "
        for entry in entries:
            if entry.row is None or entry.row["verdict"] != Decision.ACCEPT:
                file.write(separator + json.dumps(_member(entry)))
                separator = ",\n    "
        file.write("\n  ]\n}\n")


def write_table(path: Path, entries: Iterator[Entry]) -> None:
    """Write the table: one line an image, in the folder's order; one that failed has the code for a reason.

    Raises:
        OSError.
    """
    with replaced(path) as partial, _open_table(partial) as file:
        table = csv.DictWriter(file, TABLE_COLUMNS, restval="")
        table.writeheader()
        for entry in entries:
            row = entry.row or {"verdict": FAILED, "reasons": (entry.problem or {})["code"]}
            table.writerow({name: _safe(value) for name, value in ({"path": entry.path} | row).items()})


def _open_table(path: Path) -> IO[str]:
    # Names of files need not be text.
    return path.open("w", encoding="utf-8", errors="surrogateescape", newline="")


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, the signs of full width too: https://owasp.org/www-community/attacks/CSV_Injection"""


def escape_formula(text: str) -> str:
    """Return a text as spreadsheets show it and do not compute it: behind an apostrophe if it begins as a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _safe(value: object) -> object:
    return escape_formula(value) if isinstance(value, str) else value


def _member(entry: Entry) -> dict[str, Any]:
    if entry.row is None:
        return {"path": entry.path, "outcome": FAILED, **(entry.problem or {})}
    return {"path": entry.path, "outcome": entry.row["verdict"], "reasons": entry.row["reasons"].split()}
