"""How much a promise was tried, small or whole, and what came of it: one line each for docs/RELIABILITY.md."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

WHOLE = os.environ.get("LUNG_PROVE") == "1"
"""Set by `make prove`; `make test` tries a small version of each promise."""


def cases(small: int, whole: int) -> int:
    """How often to try: ``small`` in the default suite, ``whole`` in `make prove`."""
    return whole if WHOLE else small


@dataclass
class Entry:
    """One promise as it was tried."""

    number: int
    """Where docs/RELIABILITY.md speaks of it; also the order of the table."""
    promise: str
    tried: str
    """What was counted, such as "200,000 inputs from 44 films"."""
    found: str = ""
    """What was measured, such as "slowest 0.8 s, peak 410 MiB"."""
    verdict: str = "kept"
    seconds: float = 0.0

    def write(self, folder: Path, name: str) -> None:
        """Put the line where `make prove` collects them."""
        (folder / f"{self.number:02}-{name}.json").write_text(json.dumps(asdict(self)))


class Ledger:
    """What the tests of one promise say of themselves."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def enter(self, number: int, promise: str, tried: str, found: str = "") -> None:
        """State what was tried; call it before the last assertion, so that a broken promise has its count too."""
        self.entries.append(Entry(number, promise, tried, found))
        print(f"{promise}: {tried}; {found}")
