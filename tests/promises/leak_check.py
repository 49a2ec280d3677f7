"""Capture all output while images with canaries are processed, and search it for them."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from canaries import caught
from ledger import WHOLE, Ledger

from lungseg.encode.formats import FORMATS

PROMISE = "No text from an image or request is ever leaked"
CHANNELS = "stdout and stderr, all logs, metrics, tracebacks"

DICOM_FORMATS = tuple(name for name, each in FORMATS.items() if each.is_dicom)
PATIENT_FORMATS = (*DICOM_FORMATS, "all")
"""Output formats that carry the patient and study of a DICOM image."""


class LeakCheck:
    """All output of this process.

    Attributes:
        cases: number of checks.
        placed: canaries that might have leaked, over all cases.
        leaked: canaries that leaked, with their case.
    """

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self._log = capfd, io.StringIO()
        self.handler = logging.StreamHandler(self._log)
        self.handler.setFormatter(logging.Formatter("%(name)s %(message)s %(exc_info)s"))
        self.cases = self.placed = 0
        self.leaked: list[str] = []

    def search(self, case: str, placed: Iterable[str], *contents: bytes | str, allowed: Iterable[str] = ()) -> None:
        """Search the output since the last call, and other contents of this case, for canaries."""
        told = self._capfd.readouterr()
        found = caught(told.out, told.err, self._log.getvalue(), *contents) - set(allowed)
        self._log.truncate(self._log.seek(0))
        self.cases += 1
        self.placed += len(set(placed))
        self.leaked += [f"{case}: {', '.join(sorted(found))}"] if found else []

    def enter(self, ledger: Ledger, door: str, channels: str) -> None:
        """Enter what was tried, and fail if anything leaked."""
        tried = f"{door}: {self.cases:,} cases with {self.placed:,} canaries in {channels}"
        ledger.enter(4, PROMISE, tried, f"{len(self.leaked)} leaked")
        assert not self.leaked, "\n".join(self.leaked[:50])


_drawn = random.Random(4)


def some(cases: Iterable[Any], small: int, kind: Callable[[Any], object] = id) -> list[Any]:
    """Return all cases, or in the default suite a sample that has each kind at least once.

    Args:
        kind: returns the kind of a case; without it, any sample will do.
    """
    found = list(cases)
    if WHOLE or len(found) <= small:
        return found
    _drawn.shuffle(found)
    each = [] if kind is id else list({kind(case): case for case in found}.values())
    return each + [case for case in found if case not in each][: max(0, small - len(each))]
