"""Images and broken files that `record_outputs.py` sends through every entry point."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from unittest import mock

import films
import numpy as np
from PIL import Image
from truth_table import CELLS

from lungseg.decode.bounds.png import png_chunk

T = TypeVar("T")

DATA, CASES = films.SHARED, films.SHARED.parent / "cases"

SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff", ".bmp", ".webp", ".jls"}

MAX_CASES = 0.2
"""Fraction of the images that are taken from the odd files in ``../shared/cases``."""

UID = "1.2.826.0.1.3680043.8.498.1"


def inputs(images: int, cells: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of every file to send; they are the same in every run.

    Args:
        images: how many images to take from ``../shared``; fewer if there are fewer.
        cells: how many rows of the truth table to write.
    """
    odd = _spread(_files(CASES), round(MAX_CASES * images))
    found = [*odd, *_spread(_files(DATA), images - len(odd))]
    for number, path in enumerate(found):
        # File names of patients stay out of the record.
        yield f"image-{number:03}{path.suffix.lower()}", path.read_bytes()
    # pydicom draws a new instance UID for each file, and a segmentation's UIDs derive from it.
    with mock.patch("films.generate_uid", lambda: UID), mock.patch("pydicom.pixels.utils.generate_uid", lambda: UID):
        for name in _spread([*CELLS], cells):
            yield f"cell-{name.replace(' ', '-').lower()}", CELLS[name]()
    yield from _refused()


def _refused() -> Iterator[tuple[str, bytes]]:
    """Yield files that are rejected, each for another reason."""
    whole = films.packaged("RG1_UNCR.dcm").read_bytes()
    grey = films.png(np.tile(np.arange(128, dtype=np.uint8), (128, 1)))
    yield "bad-empty", b""
    yield "bad-text", b"This is no image.\n" * 20
    yield "bad-cut-png", grey[: len(grey) // 2]
    yield "bad-cut-dicom", whole[: len(whole) // 2]
    yield "bad-mangled", grey.decode("utf-8", "replace").encode()
    yield "bad-tiny", films.png(np.zeros((8, 8), np.uint8))
    yield "bad-blank", films.png(np.full((128, 128), 90, np.uint8))
    yield "bad-gif", films.encode(Image.fromarray(np.eye(128, dtype=np.uint8) * 255), "GIF")
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(b"\0")) + png_chunk(b"IEND", b"")
    yield "bad-bomb", grey[:8] + header + data


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def _spread(items: list[T], count: int) -> list[T]:
    """Return ``count`` of the items, evenly spaced; all of them if there are fewer."""
    if count >= len(items):
        return items
    return [items[number * len(items) // count] for number in range(count)]
