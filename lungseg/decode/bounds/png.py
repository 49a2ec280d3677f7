"""PNG chunks (PNG specification, clause 5) and the stream that the IDAT chunks contain.

Only the image itself is decoded: anything else in a file takes time and memory.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from lungseg import errors, limits
from lungseg.decode.bounds.inflate import InflateReader

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

OWN_KEYWORD, OWN_PROGRAM = "Software", "lung-segmentation"
"""The text chunk of this program's own PNGs: a keyword and the program's name (PNG specification, 11.3.3.2).
Without it, an overlay that is sent back as an image would be segmented again."""

OWN_KIND, OWN_TEXT = b"tEXt", f"{OWN_KEYWORD}\0{OWN_PROGRAM}".encode("latin-1")
"""That chunk's type and content."""

MAX_SMALL_CHUNK, MAX_EXIF_CHUNK, MAX_TEXT_CHUNK = 2**10, 2**16, 2**20

MAX_CHUNK_BYTES = {
    b"IHDR": MAX_SMALL_CHUNK,
    b"PLTE": MAX_SMALL_CHUNK,
    b"tRNS": MAX_SMALL_CHUNK,
    b"IDAT": limits.MAX_BYTES,
    b"IEND": MAX_SMALL_CHUNK,
    b"gAMA": MAX_SMALL_CHUNK,
    b"cHRM": MAX_SMALL_CHUNK,
    b"sRGB": MAX_SMALL_CHUNK,
    b"sBIT": MAX_SMALL_CHUNK,
    b"bKGD": MAX_SMALL_CHUNK,
    b"hIST": MAX_SMALL_CHUNK,
    b"pHYs": MAX_SMALL_CHUNK,
    b"tIME": MAX_SMALL_CHUNK,
    b"eXIf": MAX_EXIF_CHUNK,
}
"""Chunks that are passed to a decoder, and the maximum length of each."""

XMP_KEYWORD = b"XML:com.adobe.xmp"
"""The keyword of the text that may contain an orientation."""

CHANNELS_BY_TYPE = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by colour type (section 11.2.2)."""

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced PNG (section 8.2)."""

MAX_DEFLATE_RATIO = 1032
"""Bytes that one byte of deflate can expand to: 258 for each of 4 codes (RFC 1951 section 3.2.5)."""

MAX_PNG_OVERHEAD = 2**16
"""Bytes by which an incompressible stream may exceed twice the length of its rows."""


def check_png(data: bytes) -> bytes:
    """Return a PNG reduced to its picture.

    Raises:
        OwnOutput: it is an output of this program.
        Exception: as `strip_ancillary_chunks`.
    """
    if is_own_png(data):
        raise errors.OwnOutput("The PNG is an output of this program.")
    return strip_ancillary_chunks(data)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG, with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def iter_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's type, start and end, including its length and checksum; the last may be truncated.

    Bytes after the end chunk are not part of the PNG.

    Raises:
        ValueError: too many chunks.
    """
    position = len(PNG_SIGNATURE)
    for _ in range(limits.MAX_PARTS):
        if position + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, position, position + length + 12
        if kind == b"IEND":
            return
        position += length + 12
    raise ValueError("too many chunks")


def is_own_png(data: bytes) -> bool:
    """Return whether a PNG is an output of this program, by the text chunk that its outputs carry."""
    try:
        for kind, start, end in iter_chunks(data):
            if kind == OWN_KIND and data[start + 8 : end - 4] == OWN_TEXT:
                return True
            if kind in (b"IDAT", b"IEND"):
                return False
    except ValueError:  # too many chunks, which is reported when the PNG is checked
        pass
    return False


def strip_ancillary_chunks(data: bytes) -> bytes:
    """Return the PNG without texts, profiles, animations and anything else that is not its image.

    Raises:
        TooSmall, TooLarge, DamagedImage: by the size that its header states.
        ValueError: too many chunks, or a stream whose length does not fit the image.
        KeyError, struct.error: no valid header.
    """
    if data[12:16] != b"IHDR":
        raise ValueError("no header")
    width, height = struct.unpack_from(">II", data, 16)
    limits.check_size(height, width, len(data))
    if data[26:28] != bytes(2) or data[28] > 1:
        raise ValueError("a compression, filter or interlacing that there is not")
    kept, compressed, whole = [(0, len(PNG_SIGNATURE))], 0, True
    for kind, start, end in iter_chunks(data):
        length = end - start - 12
        if length <= MAX_CHUNK_BYTES.get(kind, -1) or (
            kind == b"iTXt" and length <= MAX_TEXT_CHUNK and data.startswith(XMP_KEYWORD, start + 8)
        ):
            kept.append((start, end))
        else:
            whole = False
        if kind == b"IDAT":
            compressed += length
    size = uncompressed_size(data)
    if size > MAX_DEFLATE_RATIO * compressed + MAX_PNG_OVERHEAD or compressed > 2 * size + MAX_PNG_OVERHEAD:
        raise ValueError("a stream of another picture")
    return data if whole else b"".join(data[start:end] for start, end in kept)


def uncompressed_size(data: bytes) -> int:
    """Return the bytes of all rows, each with its filter byte, as the header states them."""
    width, height, depth, colour_type, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    bits, size = depth * CHANNELS_BY_TYPE[colour_type], 0
    for row, column, row_step, column_step in ADAM7 if interlaced else ((0, 0, 1, 1),):
        rows, columns = -(-(height - row) // row_step), -(-(width - column) // column_step)
        if rows > 0 and columns > 0:
            size += rows * (1 + -(-columns * bits // 8))
    return size


def inflate_rows(data: bytes) -> Iterator[bytes]:
    """Yield the rows, piece by piece, and no byte more, however long the stream is.

    Decoders ignore what follows the last row. Damage often leaves something there: zeros, for example, are decoded as
    pixels.

    Raises:
        DamagedImage: the stream has more or fewer rows than the header states.
        zlib.error: the stream is broken, or its checksum is wrong.
    """
    view, left = memoryview(data), uncompressed_size(data)
    for piece in InflateReader(view[start + 8 : end - 4] for kind, start, end in iter_chunks(data) if kind == b"IDAT"):
        left -= len(piece)
        if left < 0:
            raise errors.DamagedImage("The PNG has more rows than its header states.")
        yield piece
    if left > 0:
        raise errors.DamagedImage("The PNG has fewer rows than its header states.")
