"""JPEG 2000 headers, and their limits, exact to one part."""

from __future__ import annotations

import struct

import pytest

from lungseg.decode.bounds.jpeg2000 import (
    COC,
    COD,
    CODESTREAM_START,
    EOC,
    MAX_CODESTREAM_PARTS,
    SOD,
    SOT,
    check_codestream,
)

PARTS, PICTURE = "too many tiles, precincts or layers", "no picture, or no tiles"


def stream(
    size: tuple[int, int],
    *segments: bytes,
    tile: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
    tile_origin: tuple[int, int] = (0, 0),
    components: int = 1,
) -> bytes:
    """Return a codestream's main header; width before height, as in the standard."""
    far = [side + start for side, start in zip(size, origin, strict=True)]
    numbers = struct.pack(">H8IH", 0, *far, *origin, *(tile or size), *tile_origin, components)
    return CODESTREAM_START + struct.pack(">H", 2 + len(numbers)) + numbers + b"".join(segments)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", marker, 2 + len(body)) + body


def cod(levels: int = 0, layers: int = 1, precincts: bytes | None = None) -> bytes:
    """Return the coding style of all components; one byte per resolution has the precincts' exponents."""
    style = struct.pack(">BBHB", 0 if precincts is None else 1, 0, layers, 1)
    return segment(COD, style + bytes([levels, 4, 4, 0, 1]) + (precincts or b""))


def coc(name: bytes, precincts: bytes) -> bytes:
    """Return the coding style of one component."""
    return segment(COC, name + b"\1" + bytes([len(precincts) - 1, 4, 4, 0, 1]) + precincts)


def part(body: bytes, after: bytes = b"", length: int | None = None) -> bytes:
    """Return a tile-part: the segments of its header, and its data."""
    inside = body + struct.pack(">H", SOD) + after
    return segment(SOT, struct.pack(">HIBB", 0, 12 + len(inside) if length is None else length, 0, 1)) + inside


END = struct.pack(">H", EOC) + bytes(2)
TINY = b"\0"
"""Precincts of one pixel."""


def refused(data: bytes, says: str, samples: int = 1) -> None:
    with pytest.raises(ValueError, match=says):
        check_codestream(data, samples)


def test_size_is_the_difference_of_corners() -> None:
    assert check_codestream(stream((300, 200), cod()), 1) == (200, 300)
    assert check_codestream(stream((300, 200), cod(), origin=(40, 50)), 1) == (200, 300)
    assert check_codestream(stream((1, 1), cod()), 1) == (1, 1)
    # In a JP2 file, boxes precede the codestream; and its data may contain the same four bytes by chance.
    assert check_codestream(b"boxes" + stream((300, 200), cod(), part(b"", CODESTREAM_START + bytes(60)), END), 1) == (
        200,
        300,
    )
    with pytest.raises(ValueError, match="not found"):
        check_codestream(b"\xff\x4f\xff\x52" + bytes(60), 1)
    with pytest.raises(struct.error):
        check_codestream(stream((300, 200))[:30], 1)


def test_wrong_number_of_components_is_rejected() -> None:
    refused(stream((300, 200), components=3), "other components than samples")
    assert check_codestream(stream((300, 200), components=3), 3) == (200, 300)


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 200), "tile": (9, 9)},
        {"size": (300, 0), "tile": (9, 9)},
        {"size": (300, 200), "tile": (0, 9)},
        {"size": (300, 200), "tile": (9, 0)},
        {"size": (300, 200), "origin": (5, 5), "tile_origin": (6, 0)},
        {"size": (300, 200), "origin": (5, 5), "tile_origin": (0, 6)},
    ],
)
def test_empty_image_or_tile_is_rejected(options: dict[str, tuple[int, int]]) -> None:
    size = options.pop("size")
    refused(stream(size, cod(), **options), PICTURE)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "reads"),
    [
        # One part per tile, resolution and component, and one per precinct; 100,000 are allowed.
        ({"size": (369, 271), "tile": (1, 1)}, True),  # 99,999 tiles and a precinct
        ({"size": (400, 250), "tile": (1, 1)}, False),
        ({"size": (641, 52), "tile": (1, 1), "components": 3}, True),
        ({"size": (813, 41), "tile": (1, 1), "components": 3}, False),
        ({"size": (641, 78), "tile": (1, 1), "levels": 1}, True),
        ({"size": (250, 200), "tile": (1, 1), "levels": 1}, False),
        ({"size": (165, 101), "tile": (1, 1), "levels": 5}, True),
        ({"size": (641, 26), "tile": (1, 1), "levels": 5}, False),
        # An incomplete tile counts as one.
        ({"size": (737, 271), "tile": (2, 1)}, True),
        ({"size": (739, 271), "tile": (2, 1)}, False),
        ({"size": (271, 737), "tile": (1, 2)}, True),
        ({"size": (271, 739), "tile": (1, 2)}, False),
        ({"size": (36701, 272), "tile": (100, 1)}, False),
        ({"size": (272, 36701), "tile": (1, 100)}, False),
        # Tiles are counted from the tile origin.
        ({"size": (369, 271), "tile": (1, 1), "origin": (50, 60), "tile_origin": (50, 60)}, True),
        ({"size": (369, 271), "tile": (1, 1), "origin": (50, 60), "tile_origin": (49, 60)}, False),
        ({"size": (369, 271), "tile": (1, 1), "origin": (50, 60), "tile_origin": (50, 59)}, False),
        # By default, precincts have 32,768 pixels on a side.
        ({"size": (32767, 271), "tile": (89, 1)}, True),
        ({"size": (32768, 271), "tile": (89, 1)}, False),
        ({"size": (271, 32767), "tile": (1, 89)}, True),
        ({"size": (271, 32768), "tile": (1, 89)}, False),
        # One more precinct than fits is counted along each side.
        ({"size": (368, 270), "precincts": TINY}, True),
        ({"size": (399, 249), "precincts": TINY}, False),
        # The width's exponent is the lower one.
        ({"size": (200_000, 4), "precincts": b"\x0f"}, True),
        ({"size": (200_000, 4), "precincts": b"\xf0"}, False),
        ({"size": (4, 200_000), "precincts": b"\xf0"}, True),
        ({"size": (4, 180_000), "precincts": b"\x1f"}, True),
        ({"size": (4, 200_000), "precincts": b"\x0f"}, False),
        # The coarsest resolution, half as wide and high, comes first.
        ({"size": (400, 400), "levels": 1, "precincts": b"\x00\xff"}, True),
        ({"size": (400, 400), "levels": 1, "precincts": b"\xff\x00"}, False),
        # 2,000,000 packets are allowed: parts times layers.
        ({"size": (369, 271), "tile": (1, 1), "layers": 20}, True),
        ({"size": (369, 271), "tile": (1, 1), "layers": 21}, False),
        ({"size": (80, 50), "tile": (1, 1), "layers": 2}, True),
        ({"size": (80, 50), "tile": (1, 1), "layers": 512}, False),
    ],
)
def test_limits_are_exact(options: dict[str, object], reads: bool) -> None:
    style = cod(**{name: options.pop(name) for name in ("levels", "layers", "precincts") if name in options})  # type: ignore[arg-type]
    width, height = size = options.pop("size")  # type: ignore[misc]
    data = stream(size, style, **options)  # type: ignore[arg-type]
    samples = int(options.get("components", 1))  # type: ignore[call-overload]
    if reads:
        assert check_codestream(data, samples) == (height, width)
    else:
        refused(data, PARTS, samples)


@pytest.mark.parametrize(("components", "name"), [(1, b"\0"), (256, b"\0"), (257, b"\0\0")])
def test_component_style_is_checked(components: int, name: bytes) -> None:
    large = coc(name, b"\xff\xff")
    assert check_codestream(stream((400, 400), cod(), large, components=components), components) == (400, 400)
    refused(stream((400, 400), cod(), coc(name, TINY), components=components), PARTS, components)
    refused(stream((400, 400), cod(), large, coc(name, b"\xff\x00"), components=components), PARTS, components)


def test_every_header_is_checked() -> None:
    comment, empty = segment(0xFF64, b"anything"), segment(0xFF64, b"")
    tiny = cod(precincts=TINY)
    refused(stream((400, 400), comment, empty, tiny), PARTS)
    good = part(comment, b"data")
    refused(stream((400, 400), cod(), good, part(comment + tiny, b"data"), END), PARTS)
    refused(stream((400, 400), cod(), good, good, part(tiny, b"data"), END), PARTS)
    # Nothing after the end, or in the data of a part, is a header; the last part may leave its length open.
    assert check_codestream(stream((400, 400), cod(), good, END, tiny), 1) == (400, 400)
    assert check_codestream(stream((400, 400), cod(), part(b"", tiny), END), 1) == (400, 400)
    assert check_codestream(stream((400, 400), cod(), good, part(b"", tiny + bytes(9), length=0)), 1) == (400, 400)
    assert check_codestream(stream((400, 400), cod(), b"\xff\x64\0"), 1) == (400, 400)


def test_missing_precincts_and_lengths_are_rejected() -> None:
    refused(stream((400, 400), cod(levels=2, precincts=b"\xff\xff")), "precincts are missing")
    for length in (0, 1):
        refused(stream((400, 400), cod(), struct.pack(">HH", 0xFF64, length) + bytes(9)), "a segment without a length")


def test_segments_are_limited() -> None:
    comment = segment(0xFF64, b"")
    before = 2  # SIZ and COD; the end counts too
    assert check_codestream(stream((400, 400), cod(), comment * (MAX_CODESTREAM_PARTS - before - 1), END), 1) == (
        400,
        400,
    )
    refused(stream((400, 400), cod(), comment * (MAX_CODESTREAM_PARTS - before), END), "too many segments")
