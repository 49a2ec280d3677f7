"""The images of the benchmarks: the packaged image RG1, and resized copies of it.

A resized image is smoother than a real one, and compresses better. So noise like a detector's is added, the same in
every run.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file

from lungseg.decode import decode

NOISE = 1 / 256
"""Standard deviation as a fraction of the image's range: one grey level of 8 bits. PNGs then have 3 to 4 bits per
pixel, like the public images."""

DEPTH = 12
"""Used bits of the 16-bit image, as with most detectors."""

QUALITY = 95
"""JPEG quality."""


@dataclass(frozen=True)
class BenchmarkImage:
    """An image to measure.

    Attributes:
        name: in the tables.
        kind: selects the decoders: "JPEG", "PNG", "PNG16", "DICOM" or "DICOM JPEG 2000".
        data: the file.
        height, width: in pixels.
    """

    name: str
    kind: str
    data: bytes
    height: int
    width: int


def sample_images() -> list[BenchmarkImage]:
    """Return all images, small to large."""
    plain, packed = (read_packaged(name) for name in ("RG1_UNCR.dcm", "RG1_J2KR.dcm"))
    rows, columns = decode(plain).pixels.shape
    return [
        make_image("1 Mpx JPEG", "JPEG", 1),
        make_image("5 Mpx JPEG", "JPEG", 5),
        make_image("5 Mpx PNG, 8 bits", "PNG", 5),
        make_image("5 Mpx PNG, 16 bits", "PNG", 5, np.uint16),
        make_image("20 Mpx PNG, 8 bits", "PNG", 20),
        BenchmarkImage("3.6 Mpx DICOM, plain", "DICOM", plain, rows, columns),
        BenchmarkImage("3.6 Mpx DICOM, JPEG 2000", "DICOM JPEG 2000", packed, rows, columns),
    ]


def make_image(name: str, file_format: str, megapixels: float, depth: type = np.uint8, seed: int = 1) -> BenchmarkImage:
    """Return RG1 at another size, with noise, as a PNG or a JPEG."""
    image = resize_rg1(megapixels, seed)
    greys = (image * (255 if depth is np.uint8 else 2**DEPTH - 1)).astype(depth)
    kind = "PNG16" if depth is np.uint16 else file_format
    return BenchmarkImage(name, kind, encode_pixels(greys, file_format), *image.shape)


def resize_rg1(megapixels: float, seed: int = 1, noise: float = NOISE) -> NDArray[np.float32]:
    """Return RG1 at another size, in [0, 1], with noise."""
    pixels = decode(read_packaged("RG1_UNCR.dcm")).pixels
    scale = (1e6 * megapixels / pixels.size) ** 0.5
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    image = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    image = np.asarray(image)
    image = (image - image.min()) / np.ptp(image)
    return (image + noise * np.random.default_rng(seed).standard_normal(image.shape, np.float32)).clip(0, 1)


def encode_pixels(pixels: NDArray[np.generic], file_format: str) -> bytes:
    """Return pixels as an image file."""
    buffer = io.BytesIO()
    options = {"quality": QUALITY} if file_format == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def read_packaged(name: str) -> bytes:
    """Return an image of pydicom-data.

    Raises:
        SystemExit: it is not installed.
    """
    path = get_testdata_file(name, download=False)
    if path is None:
        raise SystemExit(f"error: {name} is not installed; run: pip install -r lungseg/requirements.txt")
    return Path(str(path)).read_bytes()
