"""A picture file cut down to its picture, and refused if it is in more parts than any film's, before Pillow opens it.

Pillow makes objects of every part that it finds, in Python: a file of small ones would keep it busy for a minute.
"""

from __future__ import annotations

import struct

from lungseg import errors, limits
from lungseg.decode.bounds import jpeg, png

RUNS = (1, 2)
"""A BMP's compressions RLE8 and RLE4."""


def lean(data: bytes, file_format: str) -> bytes:
    """The file, as Pillow is to see it; the very same where there is nothing to leave out.

    Args:
        file_format: "PNG", "JPEG", "BMP" or "WEBP".

    Raises:
        FilmError: it is none that is read.
        Exception: it is broken or in too many parts; of any type.
    """
    if file_format == "PNG":
        return png.lean(data)
    if file_format == "JPEG":
        return jpeg.lean(data)
    if file_format == "WEBP":
        _check_webp(data)
    else:
        _check_bmp(data)
    return data


def _check_webp(data: bytes) -> None:
    """Raise ValueError if a WebP has too many chunks, of which a frame of an animation is one."""
    position = 12
    for _ in range(limits.MAX_PARTS):
        if position + 8 > len(data):
            return
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length + length % 2
    raise ValueError("too many chunks")


def _check_bmp(data: bytes) -> None:
    """Refuse run lengths: Pillow unpacks them one by one, in Python."""
    (header,) = struct.unpack_from("<I", data, 14)
    if header >= 40 and struct.unpack_from("<I", data, 30)[0] in RUNS:
        raise errors.UnsupportedFormat("The BMP is made of run lengths.")
