"""Fixtures of the promises' tests: the ledger of results, and images with canaries."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from canary_images import CanaryImage, dicom_image, good, refused
from canary_images import png as png_image
from films import STRIPES8
from leak_check import LeakCheck
from ledger import WHOLE, Ledger
from numpy.typing import NDArray
from PIL import Image
from processes import smaller

_LEDGER = pytest.StashKey[Ledger]()


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Return where a test enters what it tried."""
    request.node.stash[_LEDGER] = ledger = Ledger()
    yield ledger


@pytest.fixture(scope="session")
def pixels(rg1_png: bytes) -> NDArray[np.uint8]:
    """Return RG1, small enough to be segmented quickly."""
    with Image.open(io.BytesIO(smaller(rg1_png, 160))) as image:
        return np.asarray(image)


@pytest.fixture(scope="session")
def images(pixels: NDArray[np.uint8]) -> list[tuple[CanaryImage, str | None]]:
    """Return all images with their error codes; None for valid ones."""
    lungless = [CanaryImage("stripes, PNG", png_image(STRIPES8)), CanaryImage("stripes, DICOM", dicom_image(STRIPES8))]
    found: list[tuple[CanaryImage, str | None]] = [(film, None) for film in (*good(pixels).values(), *lungless)]
    found += [(film, code) for code, each in refused(pixels).items() for film in each]
    assert all(film.places or film.name == "bmp cut" for film, _ in found), "an image without a canary shows nothing"
    return found


@pytest.fixture
def leaks(capfd: pytest.CaptureFixture[str]) -> Iterator[LeakCheck]:
    """Listen at INFO, the level that Lambda writes with LogFormat JSON."""
    found, root = LeakCheck(capfd), logging.getLogger()
    # The test's own HTTP client logs the URLs that it requests.
    found.handler.addFilter(lambda record: not record.name.startswith("http"))
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(found.handler)
    yield found
    root.removeHandler(found.handler)
    root.setLevel(level)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Write the ledger of a finished test, with its verdict; the small version does not count."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    folder = os.environ.get("LUNG_LEDGER")
    if call.when != "call" or folder is None or not WHOLE or _LEDGER not in item.stash:
        return
    for position, entry in enumerate(item.stash[_LEDGER].entries):
        entry.verdict = "kept" if report.passed else "BROKEN"
        entry.seconds = call.duration
        entry.write(Path(folder), f"{re.sub(r'[^a-z0-9]+', '-', item.nodeid.lower())}-{position}")
