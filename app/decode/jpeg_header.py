"""The size that a JPEG stream states, of any of the family: baseline to lossless, and JPEG-LS."""

from __future__ import annotations

import struct

SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Start of frame: SOF0 to SOF15 but the three that are no frames (T.81 table B.1), and SOF55 of JPEG-LS (T.87)."""

END = b"\xff\xd9"

SCAN = b"\xff\xda"
MOST_SCANS = 200
"""A progressive JPEG has about ten."""

BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length behind them (T.81 section B.1.1.3)."""


def check_scans(stream: bytes) -> None:
    """Raise ValueError if a JPEG stream has far more scans than any program writes; each costs a pass over the film."""
    if stream.count(SCAN) > MOST_SCANS:
        raise ValueError("too many scans")


def jpeg_size(stream: bytes) -> tuple[int, int]:
    """Height and width of a JPEG or JPEG-LS stream, from its frame header; no pixel is decoded.

    Raises:
        ValueError: there is no frame header where one must be, or no end behind it, which libjpeg would make up with
            grey in place of what is missing; or it has too many scans.
    """
    check_scans(stream)
    position = 2
    while position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker in SIZE_MARKERS:
            # Coded data never holds these two bytes: each FF in it is followed by 00 or a restart marker.
            if stream.find(END, position) < 0:
                raise ValueError("no end of image")
            height, width = struct.unpack(">HH", stream[position + 5 : position + 9])
            return height, width
        if marker == 0xFF:  # fill
            position += 1
        elif marker in BARE_MARKERS:
            position += 2
        else:
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    raise ValueError("no frame header")
