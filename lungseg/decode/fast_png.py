"""Grey PNGs in two steps that are each faster than one: libdeflate inflates, libpng undoes the rows' filters.

libpng by itself inflates with zlib, and goes on behind the picture's last row for as long as there is data: a small
file keeps it busy for minutes. Here no byte more than the picture's is inflated.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lungseg.decode.bounds.png import inflate_rows, iter_chunks, uncompressed_size
from lungseg.decode.radiograph import Pixels

END_CHUNK = b"\0\0\0\0IEND\xaeB`\x82"
"""The last chunk."""

HARMLESS_CHUNKS = {b"IHDR", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"bKGD", b"hIST", b"tRNS", b"pHYs", b"tIME", b"IEND"}
"""Chunks that leave the greys as they are and hold no orientation; with any other, Pillow reads the image."""

MIN_ROWS_BYTES, MAX_ROWS_BYTES = 500_000, 64 * 2**20
"""Bytes of a picture: below the first it is not worth importing the two libraries, above the second Pillow, which keeps
one copy where there are two here, needs less memory."""

MAX_STORED_BLOCK = 65_535
"""The most that a stored block of deflate holds (RFC 1951, section 3.2.4)."""


def decode_grey(data: bytes) -> Pixels | None:
    """The greys of a PNG, (height, width) uint8 or uint16, or None for one that is not as plain as most.

    None says nothing of the image: interlaced, coloured and damaged ones all give it, and so do small ones.

    Args:
        data: a PNG that Pillow has opened and `limits` have passed.
    """
    width, height, depth, *kind = struct.unpack(">IIBBBBB", data[16:29])
    size = height * (1 + width * depth // 8)
    if depth not in (8, 16) or any(kind) or not MIN_ROWS_BYTES <= size <= MAX_ROWS_BYTES:
        return None
    from imagecodecs import DeflateError, PngError, deflate_decode, png_decode

    file, start = _allocate_png(data[:33], size)
    try:
        rows = memoryview(file)[start : start + size]
        if len(deflate_decode(b"".join(_compressed_parts(data)), out=rows)) < size:
            return None
        _finish_png(file, start, size)
        return png_decode(file)
    except (ValueError, DeflateError, PngError):
        return None


def decode_colour(data: bytes) -> NDArray[np.uint16]:
    """The samples of a PNG of 16-bit colour, (height, width, channels) uint16, interlaced or not.

    Raises:
        DamagedImage, zlib.error, imagecodecs.PngError: it is damaged.
    """
    from imagecodecs import png_decode

    size, place = uncompressed_size(data), 0
    file, start = _allocate_png(data[:33], size)
    rows = memoryview(file)[start : start + size]
    for piece in inflate_rows(data):
        rows[place : place + len(piece)] = piece
        place += len(piece)
    _finish_png(file, start, size)
    return png_decode(file)


def _compressed_parts(data: bytes) -> Iterator[memoryview]:
    """The compressed stream's parts.

    Raises:
        ValueError: there is a chunk that may change the picture.
    """
    view = memoryview(data)
    for kind, start, end in iter_chunks(data):
        if kind == b"IDAT":
            yield view[start + 8 : end - 4]
        elif kind not in HARMLESS_CHUNKS:
            raise ValueError("a chunk that may change the picture")


def _allocate_png(head: bytes, size: int) -> tuple[bytearray, int]:
    """Room for a PNG whose stream is not compressed, and where its rows are to be written.

    They lie where the last of them stay; `_finish_png` puts the others into their places, so that one buffer does.
    """
    start = len(head) + 8 + 2 + 5 * -(-size // MAX_STORED_BLOCK)
    file = bytearray(start + size + 8 + len(END_CHUNK))
    file[: len(head)] = head
    return file, start


def _finish_png(file: bytearray, start: int, size: int) -> None:
    """Write what belongs around the rows (PNG, clause 5.3; RFC 1950; RFC 1951 section 3.2.4)."""
    view = memoryview(file)
    end, checksum = start + size, zlib.adler32(view[start : start + size])
    stream = start - 5 * -(-size // MAX_STORED_BLOCK) - 2
    view[stream - 8 : stream] = struct.pack(">I", end + 4 - stream) + b"IDAT"
    view[stream : stream + 2] = b"\x78\x01"
    place = stream + 2
    for first in range(start, end, MAX_STORED_BLOCK):
        count = min(MAX_STORED_BLOCK, end - first)
        # Blocks move towards the front, over what has moved already; the last one has only its five bytes before it.
        view[place + 5 : place + 5 + count] = view[first : first + count]
        view[place : place + 5] = struct.pack("<BHH", first + count == end, count, count ^ 0xFFFF)
        place += 5 + count
    view[end : end + 4] = struct.pack(">I", checksum)
    view[end + 4 :] = struct.pack(">I", zlib.crc32(view[stream - 4 : end + 4])) + END_CHUNK
