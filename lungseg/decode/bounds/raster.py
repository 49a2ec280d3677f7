"""Checks of WebP and BMP files before Pillow opens them.

Pillow creates Python objects for each chunk: a file of small chunks would keep it busy for a minute.
"""

from __future__ import annotations

import struct

from lungseg import errors, limits

RUN_LENGTH_COMPRESSIONS = (1, 2)
"""The BMP compressions RLE8 and RLE4."""


def check_webp(data: bytes) -> bytes:
    """Return a WebP as it is; raise ValueError if it has too many chunks. Each frame of an animation is one."""
    position = 12
    for _ in range(limits.MAX_PARTS):
        if position + 8 > len(data):
            return data
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length + length % 2
    raise ValueError("too many chunks")


def check_bmp(data: bytes) -> bytes:
    """Return a BMP as it is, unless it is run-length encoded: Pillow decodes each run in Python.

    Raises:
        UnsupportedFormat: it is run-length encoded.
        struct.error: the header is truncated.
    """
    (header,) = struct.unpack_from("<I", data, 14)
    if header >= 40 and struct.unpack_from("<I", data, 30)[0] in RUN_LENGTH_COMPRESSIONS:
        raise errors.UnsupportedFormat("The BMP is run-length encoded.")
    return data
