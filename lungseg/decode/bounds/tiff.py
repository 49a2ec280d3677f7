"""Checks of a TIFF's directories before tifffile reads them (TIFF 6.0 section 2, BigTIFF).

tifffile reads some values at once, and creates an object for each number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from lungseg import limits

TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value by type."""

BYTE_TYPES = (1, 2, 6, 7)
"""Types that tifffile reads as one value of any length."""

MAX_TABLE_VALUES = {301: 3 * 2**16, 320: 3 * 2**16}
"""The transfer function and the palette have a number for each grey or colour."""

MAX_PAGES = 16
"""How many pages are searched for the image: thumbnails may come first."""

MAX_TAGS = 4096
MAX_DIRECTORY_BYTES = 2**24
"""Bytes of all values of a directory: colour profiles, and private tags of scanners."""


def check_tiff(data: bytes) -> bytes:
    """Return a TIFF as it is, unless one of its first directories exceeds the limits.

    Raises:
        ValueError: too many or too long values.
        struct.error: the header is truncated.
    """
    order = "<" if data.startswith(b"II") else ">"
    large = data[2:4] in (b"+\0", b"\0+")
    number, entry, link = (f"{order}{form}" for form in (("Q", "HHQQ", "Q") if large else ("H", "HHII", "I")))
    (start,) = struct.unpack_from(link, data, 8 if large else 4)
    for _ in range(MAX_PAGES):
        if not 0 < start < len(data):
            break
        try:
            (tags,) = struct.unpack_from(number, data, start)
            first = start + struct.calcsize(number)
            if tags > MAX_TAGS:
                raise ValueError("too many tags")
            end = first + tags * struct.calcsize(entry)
            (start,) = struct.unpack_from(link, data, end)
        except struct.error:
            break  # as tifffile does
        _check_directory(struct.iter_unpack(entry, data[first:end]))
    return data


def _check_directory(entries: Iterator[tuple[int, int, int, int]]) -> None:
    total = 0
    for code, kind, count, _value in entries:
        total += count * TYPE_SIZES.get(kind, 1)
        if kind not in BYTE_TYPES and count > MAX_TABLE_VALUES.get(code, limits.MAX_PARTS):
            raise ValueError("too many numbers")
    if total > MAX_DIRECTORY_BYTES:
        raise ValueError("too many bytes in a directory")
