"""The list of images that need a look (--details): the one file of a run that names UIDs, for the user's eyes only."""

from __future__ import annotations

import csv
import os
import threading
from pathlib import Path
from types import TracebackType

DETAIL_COLUMNS = ("study", "series", "instance", "outcome", "reasons")

OWNER_ONLY = 0o600


class DetailList:
    """A CSV file with a line for each image that failed or was not accepted, written at once; threads add lines."""

    def __init__(self, path: Path) -> None:
        """Create the file, or empty it.

        Raises:
            OSError.
        """
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        self._file = os.fdopen(number, "w", encoding="utf-8", newline="")
        self._lock = threading.Lock()
        self._table = csv.writer(self._file)
        self._write(DETAIL_COLUMNS)

    def __enter__(self) -> DetailList:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, study: str, series: str, instance: str, outcome: str, reasons: str) -> None:
        """Add a line.

        Args:
            study, series, instance: UIDs; the last two are empty if the study itself failed.
            outcome: a verdict's decision, or "failed".
            reasons: the verdict's reasons, or the error's code.

        Raises:
            OSError.
        """
        self._write((study, series, instance, outcome, reasons))

    def _write(self, row: tuple[str, ...]) -> None:
        with self._lock:
            self._table.writerow(row)
            self._file.flush()
