"""The table of measurements (--csv): its columns, and the row of one image."""

from __future__ import annotations

from typing import Any

from lungseg.pipeline.verdict import Verdict

TableRow = dict[str, Any]
"""The values of one image, by column."""

MEASURED_PARTS = ("both", "right", "left")

TABLE_COLUMNS = (
    "path",
    "width",
    "height",
    "verdict",
    "reasons",
    "frontal",
    "confidence",
    "expected_dice",
    "doubtful_parts",
    *(
        f"{part}_{name}"
        for part in MEASURED_PARTS
        for name in ("px", "mm2", "box_x", "box_y", "box_width", "box_height", "centroid_x", "centroid_y")
    ),
    "right_to_left",
    "share",
    "precision",
    "precision_reason",
    "milliseconds",
)
"""``px`` and ``mm2`` are areas; boxes and centroids are in pixels of the image. Unknown values are empty."""


def verdict_row(verdict: Verdict) -> TableRow:
    """Return the row of an image that is not measured, because no table was requested."""
    return {"verdict": str(verdict.decision), "reasons": " ".join(reason.code for reason in verdict.reasons)}


def is_measured(row: TableRow) -> bool:
    """Return whether a row has every column; its path is stored elsewhere."""
    return row.keys() >= set(TABLE_COLUMNS) - {"path"}


def table_row(document: dict[str, Any]) -> TableRow:
    """Return the row of one image, without its path, from its JSON document (`lungseg.encode.document`)."""
    verdict, image, lungs = document["verdict"], document["image"], document["lungs"]
    columns = {
        "width": image["width"],
        "height": image["height"],
        "verdict": verdict["decision"],
        "reasons": " ".join(reason["code"] for reason in verdict["reasons"]),
        "frontal": verdict["frontal"],
        "confidence": verdict["confidence"],
        "expected_dice": verdict["expected_dice"],
        "doubtful_parts": ", ".join(verdict["doubtful_parts"]),
    }
    for part in MEASURED_PARTS:
        measures = lungs[part]
        x, y, width, height = measures["box"] or (None,) * 4
        centre = measures["centroid"] or (None, None)
        columns |= {
            f"{part}_px": measures["pixels"],
            f"{part}_mm2": _rounded(measures["mm2"]),
            f"{part}_box_x": x,
            f"{part}_box_y": y,
            f"{part}_box_width": width,
            f"{part}_box_height": height,
            f"{part}_centroid_x": _rounded(centre[0]),
            f"{part}_centroid_y": _rounded(centre[1]),
        }
    return columns | {
        "right_to_left": lungs["right_to_left"],
        "share": lungs["share"],
        "precision": document["model"]["precision"],
        "precision_reason": document["model"]["precision_reason"],
        "milliseconds": round(sum(document["milliseconds"].values()), 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
