"""Checks of a JPEG 2000 codestream's headers before it is decoded (T.800 annex A)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

CODESTREAM_START = b"\xff\x4f\xff\x51"
"""Start of codestream, followed by the SIZ segment."""

COD, COC, SOT, SOD, EOC = 0xFF52, 0xFF53, 0xFF90, 0xFF93, 0xFFD9

START_OF_DATA = b"\xff\x93"

BYPASS_BIT = 1
"""The bit of a block style that stores some bits uncoded (table A.19), so that zeros are no sign of damage."""

MAX_ZERO_RUN = 64
"""Consecutive zero bytes in coded data, which looks random."""

MAX_CODESTREAM_PARTS = 100_000
"""Precincts of all tiles, resolutions and components together; also segments, including those of tile-parts. A decoder
allocates a few hundred bytes for each. A greyscale image of 40 megapixels has 13,000 precincts of 64 x 64 pixels, and
encoders write larger ones."""

MAX_PACKETS = 2_000_000
"""Precincts times quality layers; encoders write at most a dozen layers."""


def check_codestream(stream: bytes, samples: int) -> tuple[int, int]:
    """Return the height and width that a codestream states; nothing is decoded.

    Args:
        stream: the codestream, or a JP2 file that contains one.
        samples: number of components that it must have.

    Raises:
        ValueError: no codestream, another number of components, too many parts, or a long run of zeros.
        struct.error: the header is truncated.
    """
    start = stream.index(CODESTREAM_START) + 2
    x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, components = struct.unpack_from(">8IH", stream, start + 6)
    width, height = x1 - x0, y1 - y0
    if components != samples:
        raise ValueError("other components than samples")
    if min(width, height, tile_x, tile_y) < 1 or tile_x0 > x0 or tile_y0 > y0:
        raise ValueError("no picture, or no tiles")
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    layers, packets, bypass = 1, 0, 0
    for most_layers, block_style, sides in _coding_styles(stream, start, components):
        layers = max(layers, most_layers)
        # Each resolution has half the sides of the next finer one, which comes later in the list.
        precincts = sum(
            (((width >> level) >> across) + 1) * (((height >> level) >> down) + 1)
            for level, (across, down) in enumerate(reversed(sides))
        )
        parts = (precincts + tiles * len(sides)) * components
        if parts > MAX_CODESTREAM_PARTS or parts * layers > MAX_PACKETS:
            raise ValueError("too many tiles, precincts or layers")
        packets, bypass = max(packets, parts * layers), bypass | block_style & BYPASS_BIT
    if not bypass:
        _check_zeros(stream, packets)
    return height, width


def _check_zeros(stream: bytes, packets: int) -> None:
    """Raise ValueError if a codestream has a longer run of zeros than an encoder writes.

    A zero byte is an empty packet (section B.10.3). So a decoder reads a run of zeros as an image without detail, and
    reports no error. But there cannot be more empty packets than packets.
    """
    data = stream.find(START_OF_DATA)
    if data > 0 and stream.find(bytes(packets + MAX_ZERO_RUN), data) > 0:
        raise ValueError("a long run of zeros")


def _coding_styles(stream: bytes, position: int, components: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield layers, block style and precinct exponents of each coding style in all headers."""
    after_part = 0
    for _ in range(MAX_CODESTREAM_PARTS):
        if position + 4 > len(stream):
            return
        marker, length = struct.unpack_from(">HH", stream, position)
        body = stream[position + 4 : position + 2 + length]
        if marker == EOC:
            return
        if marker == SOD:
            if after_part <= position:  # the last tile-part may leave its length open
                return
            position = after_part
            continue
        if length < 2:
            raise ValueError("a segment without a length")
        if marker == SOT:
            after_part = position + struct.unpack_from(">HI", body)[1]
        elif marker == COD:
            yield int.from_bytes(body[2:4], "big"), body[8], _exponents(body[0], body[5:])
        elif marker == COC:
            name = 1 if components < 257 else 2
            yield 1, body[name + 4], _exponents(body[name], body[name + 1 :])
        position += 2 + length
    raise ValueError("too many segments")


def _exponents(style: int, body: bytes) -> list[tuple[int, int]]:
    """Return the exponents of 2 for the precincts' width and height, coarsest first (tables A.15, A.20, A.21)."""
    levels = body[0] + 1
    if not style & 1:
        return [(15, 15)] * levels
    stated = body[5 : 5 + levels]
    if len(stated) < levels:
        raise ValueError("precincts are missing")
    return [(each & 15, each >> 4) for each in stated]
