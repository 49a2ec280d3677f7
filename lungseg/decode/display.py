"""Stored values of a greyscale DICOM image to display values (PS3.3 section C.11, PS3.4 section N.2).

Modality LUT or rescale, then VOI LUT or window, then inversion for MONOCHROME1. All of it is computed once for the
values that occur (at most 65,536), then looked up for each pixel. A modality LUT or window that makes no sense for this
image is ignored.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from lungseg import errors

MAX_FLAT_SHARE = 0.9
"""A window that maps a larger share of the pixels to one grey was meant for another image."""

TABLE_ERRORS = (
    *(ValueError, TypeError, IndexError, AttributeError, KeyError),
    *(NotImplementedError, OverflowError, struct.error),
)
"""What pydicom raises for an invalid lookup table or window."""

SAMPLE_STEP = 7
"""Every seventh pixel is counted; they come from all columns, unless the width is a multiple of 7."""


def display_values(raw: NDArray[np.integer], dataset: Dataset, native: bool) -> NDArray[np.uint16]:
    """Return display values (height, width), the darkest pixel 0 and the brightest 65535.

    Args:
        raw: (height, width), the pixels as allocated, signed if PixelRepresentation is 1.
        native: whether unused bits are those of the file; codecs return right-justified values.

    Raises:
        BlankImage: every pixel is padding.
        DamagedImage: the header contradicts itself.
    """
    stored = _stored_values(raw, dataset, native)
    padding = _padding_mask(raw, stored, dataset, native)
    valid = stored if padding is None else stored[~padding]
    if not valid.size:
        raise errors.BlankImage("Every pixel is marked as padding.")
    low, high = int(valid.min()), int(valid.max())
    sample = valid.reshape(-1)[::SAMPLE_STEP]
    counts = np.bincount(sample.astype(np.int32) - low, minlength=high - low + 1)

    display = _apply_window(_apply_modality(np.arange(low, high + 1), dataset), counts, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        display = -display
    display -= display.min()
    display *= 65535 / (display.max() or 1)

    # The table is indexed by bit pattern, signed or not, so that no pixel is shifted or widened first.
    patterns = np.arange(low, high + 1).astype(stored.dtype).view(f"u{stored.itemsize}")
    table = np.zeros(2 ** (8 * stored.itemsize), np.uint16)
    table[patterns] = np.rint(display).astype(np.uint16)
    pixels = table[stored.view(patterns.dtype)]
    if padding is not None:
        pixels[padding] = 0  # outside the exposed field: dark, as air is
    return pixels


def _stored_values(raw: NDArray[np.integer], dataset: Dataset, native: bool) -> NDArray[np.integer]:
    """Return the stored bits of each pixel, as signed or unsigned integers of the allocated width.

    Native pixels may be left-justified (HighBit above BitsStored - 1), and other bits may contain old overlay planes.
    Shifting up drops the bits above; shifting back drops those below, and extends the sign. Codecs return
    right-justified values.
    """
    allocated, bits = raw.dtype.itemsize * 8, int(dataset.BitsStored)
    high_bit = int(dataset.get("HighBit") or bits - 1) if native else bits - 1
    if bits == allocated:
        high_bit = bits - 1  # the only possible value
    if not bits - 1 <= high_bit < allocated:
        raise errors.DamagedImage("BitsStored, HighBit and BitsAllocated contradict each other.")
    return (raw << (allocated - 1 - high_bit)) >> (allocated - bits)


def _padding_mask(
    raw: NDArray[np.integer], stored: NDArray[np.integer], dataset: Dataset, native: bool
) -> NDArray[np.bool_] | None:
    """Return a mask of the pixels that PixelPaddingValue or PixelPaddingRangeLimit marks (PS3.3 section C.7.5.1.1.2).

    Files write the value with the other sign, or outside the stored bits. So compare it both as the bit pattern of a
    pixel and as the value that this pattern means.
    """
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    pattern = np.array([value, value if limit is None else limit]).astype(raw.dtype)  # wraps to the pixels' sign
    low, high = np.sort(pattern)
    padding = (raw >= low) & (raw <= high)
    meaning = _stored_values(pattern, dataset, native)
    if (meaning == pattern).all():
        padding |= (stored >= low) & (stored <= high)
    return padding


def _apply_modality(values: NDArray[np.integer], dataset: Dataset) -> NDArray[np.generic]:
    """Apply the modality LUT or rescale to ``values``, unless the result is empty, infinite or a single grey."""
    try:
        with np.errstate(all="ignore"):
            rescaled = np.asarray(apply_modality_lut(values, dataset))
            return rescaled if np.isfinite(rescaled).all() and np.ptp(rescaled) > 0 else values
    except TABLE_ERRORS:
        return values


def _apply_window(values: NDArray[np.generic], counts: NDArray[np.integer], dataset: Dataset) -> NDArray[np.float64]:
    """Apply the VOI LUT or window to ``values``, unless there is none or it would flatten the image.

    Args:
        values: all values that a pixel can have.
        counts: how many pixels have each of them.
    """
    plain = np.asarray(values, np.float64)
    try:
        with np.errstate(all="ignore"):
            windowed = np.asarray(apply_voi_lut(values, dataset), np.float64)
    except TABLE_ERRORS:
        return plain  # an invalid window (width 0, no centre) says nothing about the pixels
    _, grey = np.unique(windowed, return_inverse=True)
    flat = np.bincount(grey, weights=counts).max() / counts.sum()
    return windowed if np.isfinite(windowed).all() and flat < MAX_FLAT_SHARE else plain
