"""Read and write a sweep's run folder: its log and its result."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungseg.files import write_atomically

DICE_COLUMN = "validation_dice"


@dataclass(frozen=True)
class EpochLog:
    """A line of log.csv; Dice is the mean of the sets' means, on the network's grid."""

    number: int
    loss: float
    dice: float
    sources: dict[str, float]
    seconds: float


def read_log(run: Path) -> list[EpochLog]:
    """Return the epochs of a run folder in order.

    Raises:
        FileNotFoundError: it has no log.csv.
    """
    with (run / "log.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    prefix = f"{DICE_COLUMN}_"
    return [
        EpochLog(
            int(line["epoch"]),
            float(line["loss"]),
            float(line[DICE_COLUMN]),
            {name.removeprefix(prefix): float(value) for name, value in line.items() if name.startswith(prefix)},
            float(line["seconds"]),
        )
        for line in lines
    ]


def save_run_result(run: Path, result: dict[str, Any]) -> None:
    """Write the result of a run, which marks it as finished."""
    write_atomically(run / "result.json", (json.dumps(result, indent=2) + "\n").encode())


def read_run_result(run: Path) -> dict[str, Any] | None:
    """Return the result of a run; None if it is not finished."""
    path = run / "result.json"
    return dict(json.loads(path.read_text())) if path.is_file() else None
