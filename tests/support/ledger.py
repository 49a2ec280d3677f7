"""The ledger of promises: what was tried and measured, one line each for docs/RELIABILITY.md."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

WHOLE = os.environ.get("LUNG_PROVE") == "1"
"""Set by `make prove`; `make test` runs a small version of each test."""


def cases(small: int, whole: int) -> int:
    """Return the number of cases: ``small`` in the default suite, ``whole`` in `make prove`."""
    return whole if WHOLE else small


@dataclass
class Entry:
    """The result of testing one promise."""

    number: int
    """The promise's number in docs/RELIABILITY.md, by which the table is sorted."""
    promise: str
    tried: str
    """What was counted, such as "200,000 inputs from 44 images"."""
    found: str = ""
    """What was measured, such as "slowest 0.8 s, peak 410 MiB"."""
    verdict: str = "kept"
    seconds: float = 0.0

    def write(self, folder: Path, name: str) -> None:
        """Write the entry to the folder where `make prove` collects them."""
        (folder / f"{self.number:02}-{name}.json").write_text(json.dumps(asdict(self)))


class Ledger:
    """The entries of the tests of one promise."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def enter(self, number: int, promise: str, tried: str, found: str = "") -> None:
        """Enter what was tried. Call it before the last assertion, so that a broken promise is entered too."""
        self.entries.append(Entry(number, promise, tried, found))
        print(f"{promise}: {tried}; {found}")
