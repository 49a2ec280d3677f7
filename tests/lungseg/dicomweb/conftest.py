"""A DICOMweb server in this process, and radiographs for it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from dicomweb_server import Server, dicomweb_server
from films import dicom
from numpy.typing import NDArray

from lungseg.dicomweb import session


@pytest.fixture
def server() -> Iterator[Server]:
    with dicomweb_server() as server:
        yield server


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let retries follow at once; return the pauses that there would be, without the server's own."""
    pauses: list[float] = []

    def backoff(attempt: int) -> float:
        pauses.append(attempt)
        return 0.0

    monkeypatch.setattr(session, "_backoff", backoff)
    return pauses


@pytest.fixture(scope="session")
def chest(rg1_pixels: NDArray[np.uint16]) -> bytes:
    """Return RG1 at a quarter of its size, as DICOM."""
    return dicom(np.ascontiguousarray(rg1_pixels[::4, ::4]), BodyPartExamined="CHEST", ViewPosition="PA")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the model that `--model` sets, and hide credentials of this machine."""
    monkeypatch.setenv("LUNG_MODEL", "lung_unet")
    for name in ("LUNG_DICOMWEB_USER", "LUNG_DICOMWEB_PASSWORD", "LUNG_DICOMWEB_TOKEN", "LUNG_THREADS"):
        monkeypatch.delenv(name, raising=False)
