"""JPEG pictures of 8 bits, strictly: what libjpeg only warns of is a refusal, if it speaks of the picture's data.

libjpeg makes up with grey what is missing, or goes on in the wrong place after a hole, and calls it a warning. So do
the decoders that are built on it; simplejpeg, which is as well, raises them.
"""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from app import errors

HEADER = re.compile(r"Unknown Adobe color transform|unknown JFIF revision|Invalid SOS parameters")
"""Warnings of the header alone (libjpeg's jerror.h). The last one is raised, and the header's come first."""

SMALLEST = 8
"""The picture is decoded at one eighth of its size at least, which is enough to read all of its data."""


def read_grey(stream: bytes, height: int, width: int, part: int = 1) -> NDArray[np.uint8]:
    """Decode a JPEG to its luminance at one ``part``-th of its size, (ceil(height / part), ceil(width / part)).

    Args:
        stream: the whole JPEG.
        height, width: as its header states them.
        part: 1, 2, 4 or 8.

    Raises:
        DamagedFilm: its data is damaged, or ends too early.
    """
    least = {} if part == 1 else {"min_height": -(-height // part), "min_width": -(-width // part)}
    try:
        pixels = simplejpeg.decode_jpeg(stream, "GRAY", **least)
    except ValueError as error:
        if not HEADER.search(str(error)):
            raise errors.DamagedFilm("The JPEG data is broken or ends too early.") from None
        pixels = simplejpeg.decode_jpeg(stream, "GRAY", strict=False, **least)
    return np.asarray(pixels)[..., 0]


def check(stream: bytes, height: int, width: int) -> None:
    """Raise DamagedFilm unless the data of a JPEG of 8 bits is whole; for those that another decoder reads."""
    read_grey(stream, height, width, SMALLEST)
