"""Fast PNG decoding: libdeflate inflates the stream, then libpng undoes the row filters.

libpng alone inflates with zlib, and continues after the last row for as long as there is data, so a small file can keep
it busy for minutes. Here no byte beyond the last row is inflated.
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
"""Chunks that change neither the greys nor the orientation; Pillow decodes an image with any other."""

MIN_ROWS_BYTES, MAX_ROWS_BYTES = 500_000, 64 * 2**20
"""Bytes of all rows. Below the first, importing the two libraries costs more than it saves. Above the second, Pillow
needs less memory: it keeps one copy, and this module two."""

MAX_STORED_BLOCK = 65_535
"""Bytes in a stored block of deflate (RFC 1951 section 3.2.4)."""


def decode_grey(data: bytes) -> Pixels | None:
    """Decode a plain greyscale PNG to (height, width) uint8 or uint16; return None for any other.

    None says nothing about the image: it may be interlaced, coloured, damaged or small.

    Args:
        data: a PNG that Pillow can open and that is within the limits.
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
    """Decode a PNG of 16-bit colour, interlaced or not, to (height, width, channels) uint16.

    Raises:
        DamagedImage, zlib.error, imagecodecs.PngError: the file is damaged.
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
    """Yield the parts of the compressed stream.

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
    """Allocate a PNG whose stream is not compressed; return it and the position where its rows are to be written.

    The last rows are final there; `_finish_png` moves the others, so that one buffer is enough.
    """
    start = len(head) + 8 + 2 + 5 * -(-size // MAX_STORED_BLOCK)
    file = bytearray(start + size + 8 + len(END_CHUNK))
    file[: len(head)] = head
    return file, start


def _finish_png(file: bytearray, start: int, size: int) -> None:
    """Write the chunk and block headers around the rows (PNG clause 5.3, RFC 1950, RFC 1951 section 3.2.4)."""
    view = memoryview(file)
    end, checksum = start + size, zlib.adler32(view[start : start + size])
    stream = start - 5 * -(-size // MAX_STORED_BLOCK) - 2
    view[stream - 8 : stream] = struct.pack(">I", end + 4 - stream) + b"IDAT"
    view[stream : stream + 2] = b"\x78\x01"
    place = stream + 2
    for first in range(start, end, MAX_STORED_BLOCK):
        count = min(MAX_STORED_BLOCK, end - first)
        # Blocks move forward, over what has been moved already; the last one stays, with 5 header bytes before it.
        view[place + 5 : place + 5 + count] = view[first : first + count]
        view[place : place + 5] = struct.pack("<BHH", first + count == end, count, count ^ 0xFFFF)
        place += 5 + count
    view[end : end + 4] = struct.pack(">I", checksum)
    view[end + 4 :] = struct.pack(">I", zlib.crc32(view[stream - 4 : end + 4])) + END_CHUNK
