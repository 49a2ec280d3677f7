"""The largest allowed images kill no function at the smallest memory that template.yaml allows."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from buckets import Buckets
from cloudformation import load
from films import dicom
from ledger import WHOLE, Ledger
from numpy.typing import NDArray
from objects import pixels_of
from peak_memory import Peak, measure
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless

from app.invocation import MIN_REMAINING_MS
from lungseg.encode.formats import FORMATS
from lungseg.limits import MAX_PIXELS

PROMISE = "The largest image in the smallest memory setting is segmented or rejected, and kills no function"

SIDE = int(MAX_PIXELS**0.5) if WHOLE else 640

STEP = 16
"""Side of the square of pixels with one grey: compressed files stay below Lambda's request limit."""

ROOM = 100
"""MiB of a function's memory left for Lambda's runtime."""

Greys = NDArray[np.uint16]


def _colour(grey: Greys, more: int) -> NDArray[np.uint16]:
    """Return RGB with ``more`` opaque samples."""
    return np.concatenate([np.repeat(grey[..., None], 3, 2), np.full((*grey.shape, more), 65535, np.uint16)], 2)


def _png(grey: Greys) -> bytes:
    return bytes(imagecodecs.png_encode(_colour(grey, 1), level=1))


def _tiff(grey: Greys) -> bytes:
    buffer, samples = io.BytesIO(), ["unassalpha", "unspecified"]
    tifffile.imwrite(
        buffer,
        _colour(grey, 2),
        photometric="rgb",
        extrasamples=samples,
        compression="deflate",
        rowsperstrip=len(grey),
    )
    return buffer.getvalue()


def _jpeg2000(grey: Greys) -> bytes:
    colour = _colour(grey, 0)
    stream = imagecodecs.jpeg2k_encode(colour, level=0, codecformat="j2k")
    elements = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    return dicom(colour, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([stream]), **elements)


KINDS: dict[str, Callable[[Greys], bytes]] = {
    "PNG of 4 samples": _png,
    "TIFF of 5 samples": _tiff,
    "DICOM, plain grey": dicom,
    "DICOM, JPEG 2000 in colour": _jpeg2000,
}
"""The kinds, of twelve, that took most memory; all of 16 bits."""


@pytest.fixture(scope="module")
def grey(rg1_png: bytes) -> Greys:
    """Return RG1 at SIDE pixels a side, in coarse steps."""
    chest = pixels_of(rg1_png)
    places = np.arange(SIDE) // STEP * STEP
    rows, columns = (places * length // SIDE for length in chest.shape)
    return (chest[np.ix_(rows, columns)] // 16 * 16).astype(np.uint16) * 257


def least(parameter: str) -> int:
    """Return the smallest value in MB that template.yaml allows."""
    return int(load()["Parameters"][parameter]["MinValue"])


@pytest.mark.parametrize("kind", KINDS if WHOLE else ["DICOM, plain grey"])
def test_largest_image_fits_batch_function_in_every_format(
    kind: str, grey: Greys, buckets: Buckets, tmp_path: Path, ledger: Ledger
) -> None:
    (tmp_path / "film").write_bytes(KINDS[kind](grey))
    buckets.drop("film", (tmp_path / "film").read_bytes())
    formats = list(FORMATS) if WHOLE else ["mask", "npz", "json"]
    peak = measure("records", tmp_path / "film", *formats)
    ledger.enter(17, PROMISE, f"{SIDE} x {SIDE} pixels, {kind}, in {len(formats)} formats at once", told(peak))
    assert peak.answer == "done"
    assert peak.mebibytes + ROOM <= least("BatchMemory")
    assert 1000 * peak.seconds < MIN_REMAINING_MS


@pytest.mark.parametrize(
    "kind", [each for each in KINDS if each != "DICOM, plain grey"] if WHOLE else ["PNG of 4 samples"]
)
def test_largest_image_fits_api_function_in_each_format(kind: str, grey: Greys, tmp_path: Path, ledger: Ledger) -> None:
    """An uncompressed image of that size exceeds Lambda's request limit."""
    (tmp_path / "film").write_bytes(KINDS[kind](grey))
    peaks = {name: measure("http", tmp_path / "film", name) for name in (FORMATS if WHOLE else ["overlay", "npz"])}
    name, most = max(peaks.items(), key=lambda each: each[1].mebibytes)
    ledger.enter(17, PROMISE, f"{SIDE} x {SIDE} pixels, {kind}, over HTTP", f"most for {name}: {told(most)}")
    refused = {name: each.answer for name, each in peaks.items() if each.answer != "done"}
    assert set(refused.values()) <= {"answer-too-large", "needs-dicom", "unsupported-dicom"}, refused
    assert most.mebibytes + ROOM <= least("ApiMemory")


def told(peak: Peak) -> str:
    """Return a peak in words."""
    return f"{peak.answer}, {peak.mebibytes:,} MiB, {peak.seconds:.0f} s of the processor"
