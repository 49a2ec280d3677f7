"""Collects what the promises' tests say of themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger import WHOLE, Ledger

_LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Where a test enters what it tried."""
    request.node.stash[_LEDGER] = ledger = Ledger()
    yield ledger


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write the lines of a test that has ended, with its verdict; a small version is no proof."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    folder = os.environ.get("LUNG_LEDGER")
    if call.when != "call" or folder is None or not WHOLE or _LEDGER not in item.stash:
        return
    for position, entry in enumerate(item.stash[_LEDGER].entries):
        entry.verdict = "kept" if report.passed else "BROKEN"
        entry.seconds = call.duration
        entry.write(Path(folder), f"{re.sub(r'[^a-z0-9]+', '-', item.nodeid.lower())}-{position}")
