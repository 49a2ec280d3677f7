"""Colour to greyscale, and the eight orientations of a stored image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungseg.decode.radiograph import Pixels

TRANSPOSED_ORIENTATIONS = range(5, 9)
"""Orientations that store the image's columns as rows."""

STRIP_ROWS = 256
"""Rows that are converted at once: 32-bit sums of a whole large image would take six times its memory."""


def luminance(colour: NDArray[np.integer]) -> Pixels:
    """Return the luminance of RGB pixels by ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded.

    Args:
        colour: (height, width, 3 or more) or a palette's (colours, 3), uint8 or uint16; samples after the third are
            ignored.

    Returns:
        (height, width) or (colours,) of the same depth, in native byte order; greys keep their value.
    """
    grey = np.empty(colour.shape[:-1], np.uint8 if colour.dtype.itemsize == 1 else np.uint16)
    for top in range(0, len(colour), STRIP_ROWS):
        strip = colour[top : top + STRIP_ROWS]
        red, green, blue = (strip[..., channel].astype(np.uint32) for channel in range(3))
        grey[top : top + STRIP_ROWS] = (299 * red + 587 * green + 114 * blue + 500) // 1000
    return grey


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return stored pixels as a viewer shows them.

    Args:
        orientation: TIFF's and EXIF's tag 274, 1 to 8 (TIFF 6.0, page 36); any other value means 1.
    """
    turned: NDArray[Any] = pixels.T if orientation in TRANSPOSED_ORIENTATIONS else pixels
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)
