"""Fixtures: the real chest X-ray RG1, and public images beside the checkout, if any."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from buckets import Buckets, forget, make, s3_server
from films import SHARED, packaged, png
from numpy.typing import NDArray
from processes import smaller

from lungseg.decode import decode
from lungseg.model import processor

TRAINING = importlib.util.find_spec("torch") is not None
collect_ignore = [] if TRAINING else ["model_export"]


def pytest_report_header() -> list[str]:
    """Name the processor's instructions, and say if tests of training are skipped."""
    lines = [f"processor: {processor.describe_processor()}"]
    if not TRAINING:
        lines.append("tests/model_export left out: PyTorch is not installed (model_export/requirements.txt)")
    return lines


@pytest.fixture(scope="session")
def rg1() -> bytes:
    """Return the real chest X-ray RG1 as an uncompressed DICOM file."""
    return packaged("RG1_UNCR.dcm").read_bytes()


@pytest.fixture(scope="session")
def rg1_pixels(rg1: bytes) -> NDArray[np.uint16]:
    """Return RG1 decoded: (1955, 1841) uint16, bone bright."""
    return decode(rg1).pixels


@pytest.fixture(scope="session")
def rg1_png(rg1_pixels: NDArray[np.uint16]) -> bytes:
    """Return RG1 as an 8-bit PNG."""
    return png((rg1_pixels >> 8).astype(np.uint8))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of public images; skip the test without it."""
    if not SHARED.is_dir():
        pytest.skip("the public images are not here (../shared/data)")
    return SHARED


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Yield the address of a local S3 server."""
    with s3_server() as address:
        yield address


@pytest.fixture
def buckets(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Buckets]:
    """Yield an input bucket, versioned as in template.yaml, and an output bucket; environment variables name them."""
    yield make(s3, monkeypatch, versioned=True)
    forget()


@pytest.fixture(scope="session")
def small(rg1_png: bytes) -> bytes:
    """Return RG1 as a small PNG."""
    return smaller(rg1_png)
