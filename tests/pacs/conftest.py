"""Fixtures of the tests against a real PACS. They run only by name: `make dicomweb`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from orthanc import Orthanc, missing_part


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
