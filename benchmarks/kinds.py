"""The images that are measured: the packaged image RG1, and images made from it by resizing.

A resized image is too smooth, and compresses as no real one does: noise as a detector has it is added, the same in
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
"""Standard deviation, as a part of the image's range: one grey of 8 bits. PNGs then take 3 to 4 bits a pixel, as the
public images do."""

DEPTH = 12
"""Bits of the 16-bit image that are used, as most detectors do."""

QUALITY = 95
"""Of JPEGs."""


@dataclass(frozen=True)
class Film:
    """An image to measure.

    Attributes:
        name: what it is.
        kind: how it is decoded: "JPEG", "PNG", "PNG16", "DICOM" or "DICOM JPEG 2000".
        data: its file.
        height, width: in pixels.
    """

    name: str
    kind: str
    data: bytes
    height: int
    width: int


def films() -> list[Film]:
    """All of them, small to large."""
    plain, packed = (packaged(name) for name in ("RG1_UNCR.dcm", "RG1_J2KR.dcm"))
    rows, columns = decode(plain).pixels.shape
    return [
        made("1 Mpx JPEG", "JPEG", 1),
        made("5 Mpx JPEG", "JPEG", 5),
        made("5 Mpx PNG, 8 bits", "PNG", 5),
        made("5 Mpx PNG, 16 bits", "PNG", 5, np.uint16),
        made("20 Mpx PNG, 8 bits", "PNG", 20),
        Film("3.6 Mpx DICOM, plain", "DICOM", plain, rows, columns),
        Film("3.6 Mpx DICOM, JPEG 2000", "DICOM JPEG 2000", packed, rows, columns),
    ]


def made(name: str, file_format: str, megapixels: float, depth: type = np.uint8, seed: int = 1) -> Film:
    """RG1 at another size, with noise, as a PNG or a JPEG."""
    film = resized(megapixels, seed)
    greys = (film * (255 if depth is np.uint8 else 2**DEPTH - 1)).astype(depth)
    kind = "PNG16" if depth is np.uint16 else file_format
    return Film(name, kind, encoded(greys, file_format), *film.shape)


def resized(megapixels: float, seed: int = 1, noise: float = NOISE) -> NDArray[np.float32]:
    """RG1 at another size, in [0, 1], with noise."""
    pixels = decode(packaged("RG1_UNCR.dcm")).pixels
    scale = (1e6 * megapixels / pixels.size) ** 0.5
    size = (round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
    image = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    film = np.asarray(image)
    film = (film - film.min()) / np.ptp(film)
    return (film + noise * np.random.default_rng(seed).standard_normal(film.shape, np.float32)).clip(0, 1)


def encoded(pixels: NDArray[np.generic], file_format: str) -> bytes:
    """Pixels as a file."""
    buffer = io.BytesIO()
    options = {"quality": QUALITY} if file_format == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def packaged(name: str) -> bytes:
    """An image of pydicom-data.

    Raises:
        SystemExit: it is not installed.
    """
    path = get_testdata_file(name, download=False)
    if path is None:
        raise SystemExit(f"error: {name} is not installed; run: pip install -r lungseg/requirements.txt")
    return Path(str(path)).read_bytes()
