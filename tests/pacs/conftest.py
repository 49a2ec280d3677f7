"""Fixtures of the tests against a real PACS. They run only by name: `make pacs`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from ohif import CHROMIUM_ARGUMENTS, OHIF
from orthanc import Orthanc, missing_part
from page_driver import CHROMIUM
from viewed_studies import study_images

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Exclude these tests from the default suite."""
    named = any("pacs" in Path(each.split("::")[0]).parts[-2:] for each in config.args)
    return True if collection_path.name.startswith("test_") and not named else None


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    """Yield an empty Orthanc; skip the test without one."""
    if missing := missing_part():
        pytest.skip(f"{missing} is not installed: apt-get install orthanc orthanc-dicomweb")
    with Orthanc(tmp_path / "orthanc") as server:
        yield server


@pytest.fixture(scope="session")
def studies(rg1: bytes, rg1_pixels: NDArray[np.uint16]) -> dict[str, bytes]:
    """Return an image of each kind, by name."""
    return study_images(rg1, rg1_pixels)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Yield Chromium; skip the test without it, or without OHIF."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install one (apt-get install chromium), or name it in the variable CHROMIUM")
    if not (OHIF / "index.html").is_file():
        pytest.skip("no OHIF: run `make viewers`, which needs npm")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -r tests/requirements.txt")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_ARGUMENTS])
        yield chromium
        chromium.close()
