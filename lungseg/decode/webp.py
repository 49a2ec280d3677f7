"""WebP files whose coded data is damaged: libwebp decodes them to another picture and reports nothing.

Neither lossy nor lossless WebP has a checksum. But damage in the middle shifts where decoding ends: then the last bytes
have no effect on the picture. In a whole file they have one, because an encoder writes nothing that is not read.
"""

from __future__ import annotations

import io
import struct

from PIL import Image

from lungseg import errors, limits

TAIL_BYTES = {b"VP8 ": 10, b"VP8L": 2}
"""Bytes at the end of a picture's chunk that are changed. The coder of lossy WebP may end with some that mean
nothing (RFC 6386, section 7.3); lossless WebP ends within a byte (RFC 9649, section 3)."""


def check_webp_data(data: bytes, picture: Image.Image) -> None:
    """Raise DamagedImage if the last bytes of a WebP's picture have no effect on it.

    Args:
        data: the whole file.
        picture: as Pillow decodes it.
    """
    try:
        with Image.open(io.BytesIO(_with_other_tail(data)), formats=["WEBP"]) as image:
            has_effect = image.tobytes() != picture.tobytes()
    except (OSError, EOFError, ValueError, struct.error):
        return  # a decoder that stumbles over them has read them
    if not has_effect:
        raise errors.DamagedImage("The WebP data is damaged or truncated.")


def _with_other_tail(data: bytes) -> bytes:
    """Return the file with the last bytes of its picture inverted."""
    position = 12
    for _ in range(limits.MAX_PARTS):
        kind, length = struct.unpack_from("<4sI", data, position)
        end = min(position + 8 + length, len(data))
        if kind in TAIL_BYTES:
            tail = bytes(byte ^ 0xFF for byte in data[end - TAIL_BYTES[kind] : end])
            return data[: end - len(tail)] + tail + data[end:]
        position = end + length % 2
    raise ValueError("no picture")
