"""Damage in WebP data, which libwebp decodes to another image without an error.

Neither lossy nor lossless WebP has a checksum. But damage in the middle moves the point where decoding ends, so the
last bytes have no effect on the image. In an intact file they do, because an encoder writes nothing that is not read.
"""

from __future__ import annotations

import io
import struct

from PIL import Image

from lungseg import errors, limits

TAIL_BYTES = {b"VP8 ": 10, b"VP8L": 2}
"""Bytes at the end of the image's chunk that are changed. Lossy WebP may end with bytes that mean nothing (RFC 6386
section 7.3); lossless WebP ends within a byte (RFC 9649 section 3)."""

MACROBLOCK_SIDE = 16
"""Side of lossy WebP's macroblocks in pixels (RFC 6386 section 2). The blocks at the right and lower edge are cut."""

SIZE_AT = 6
"""Position of width and height in lossy data (RFC 6386 section 9.1)."""

LOSSY_AT = 20
"""Where lossy image data starts in a file with no other chunk."""

MAX_LOSSY_SIDE = 16_383
"""Largest width and height: 14 bits. The two bits above are a scale, which decoders ignore."""


def check_webp_data(data: bytes, picture: Image.Image) -> None:
    """Raise DamagedImage if the last bytes of a WebP have no effect on its image.

    Args:
        data: the whole file.
        picture: the image as Pillow decoded it.
    """
    try:
        kind, start, end = _find_image_data(data)
        has_effect = _pixels(_with_other_tail(data, kind, end)) != picture.tobytes()
        if not has_effect and kind == b"VP8 ":
            # In a small image, the last bytes may be about the cut part of the last blocks only.
            whole = _whole_blocks(data[start:end])
            has_effect = _pixels(_with_other_tail(whole, kind, LOSSY_AT + end - start)) != _pixels(whole)
    except (OSError, EOFError, ValueError, struct.error):
        return  # a decoder that fails on the changed bytes has read them
    if not has_effect:
        raise errors.DamagedImage("The WebP data is damaged or truncated.")


def _pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data), formats=["WEBP"]) as image:
        return image.tobytes()


def _find_image_data(data: bytes) -> tuple[bytes, int, int]:
    """Return the kind of the chunk that holds the image, and where its data starts and ends."""
    position = 12
    for _ in range(limits.MAX_PARTS):
        kind, length = struct.unpack_from("<4sI", data, position)
        start = position + 8
        end = min(start + length, len(data))
        if kind in TAIL_BYTES:
            return kind, start, end
        position = end + length % 2
    raise ValueError("no picture")


def _with_other_tail(data: bytes, kind: bytes, end: int) -> bytes:
    """Return the file with the last bytes of its image data inverted."""
    tail = bytes(byte ^ 0xFF for byte in data[end - TAIL_BYTES[kind] : end])
    return data[: end - len(tail)] + tail + data[end:]


def _whole_blocks(lossy: bytes) -> bytes:
    """Return a file of lossy image data, at `LOSSY_AT`, whose last blocks are not cut."""
    sides = (side & MAX_LOSSY_SIDE for side in struct.unpack_from("<2H", lossy, SIZE_AT))
    padded = struct.pack("<2H", *(min(side + -side % MACROBLOCK_SIDE, MAX_LOSSY_SIDE) for side in sides))
    chunk = struct.pack("<4sI", b"VP8 ", len(lossy)) + lossy[:SIZE_AT] + padded + lossy[SIZE_AT + len(padded) :]
    chunk += b"\0" * (len(chunk) % 2)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunk), b"WEBP") + chunk
