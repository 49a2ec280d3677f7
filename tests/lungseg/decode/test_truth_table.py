"""One real image, in every encoding that is read, gives the same mask."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pytest
from films import dice, png
from numpy.typing import NDArray
from pydicom import dcmread
from truth_table import CELLS, film

from lungseg.decode.selftest import ENCODERS
from lungseg.decode.transfer_syntaxes import JPEG_FAMILY, TRANSFER_SYNTAXES
from lungseg.pipeline.segment import segment

AGREEMENT = 0.995
"""Dice above which two masks count as equal."""


@cache
def reference() -> NDArray[np.bool_]:
    return segment(png(film(16))).mask


@pytest.mark.parametrize("cell", CELLS)
def test_every_encoding_gives_the_same_mask(cell: str) -> None:
    mask = segment(CELLS[cell]()).mask
    assert mask.shape == reference().shape
    assert dice(mask, reference()) >= AGREEMENT


def test_table_has_every_transfer_syntax() -> None:
    images = [CELLS[name]() for name in CELLS if name.startswith("DICOM")]
    headers = [dcmread(io.BytesIO(image), stop_before_pixels=True) for image in images]
    assert {header.file_meta.TransferSyntaxUID for header in headers} == set(TRANSFER_SYNTAXES)
    assert list(ENCODERS) == list(JPEG_FAMILY)


def test_table_has_the_documented_size() -> None:
    """README and docs state this number."""
    assert len(CELLS) == 88
