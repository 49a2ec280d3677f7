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


def check_webp_data(data: bytes, picture: Image.Image) -> None:
    """Raise DamagedImage if the last bytes of a WebP have no effect on its image.

    Args:
        data: the whole file.
        picture: the image as Pillow decoded it.
    """
    try:
        with Image.open(io.BytesIO(_with_other_tail(data)), formats=["WEBP"]) as image:
            has_effect = image.tobytes() != picture.tobytes()
    except (OSError, EOFError, ValueError, struct.error):
        return  # a decoder that fails on the changed bytes has read them
    if not has_effect:
        raise errors.DamagedImage("The WebP data is damaged or truncated.")


def _with_other_tail(data: bytes) -> bytes:
    """Return the file with the last bytes of its image data inverted."""
    position = 12
    for _ in range(limits.MAX_PARTS):
        kind, length = struct.unpack_from("<4sI", data, position)
        end = min(position + 8 + length, len(data))
        if kind in TAIL_BYTES:
            tail = bytes(byte ^ 0xFF for byte in data[end - TAIL_BYTES[kind] : end])
            return data[: end - len(tail)] + tail + data[end:]
        position = end + length % 2
    raise ValueError("no picture")
