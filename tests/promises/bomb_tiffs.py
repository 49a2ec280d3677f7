"""Bombs that look like TIFF images: any number in a directory may be wrong."""

from __future__ import annotations

from collections.abc import Iterable
from struct import pack

import numpy as np
from bombs import BLANK, DAMAGED, LARGE, ROOM, SMALL, UNSUPPORTED, bomb, filled
from seeds import GREY

Entry = tuple[int, int, int, int]
"""Tag, type, count and value of an entry."""

BYTE, TEXT, SHORT, LONG = 1, 2, 3, 4
FILLING = ROOM - 2000
"""Bytes that fill a file."""


def tiff(entries: Iterable[Entry], data: bytes = b"", following: int = 0) -> bytes:
    """Return a little-endian TIFF with ``data`` at byte 8, before its directory."""
    entries = list(entries)
    directory = pack("<H", len(entries)) + b"".join(pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + pack("<I", 8 + len(data)) + data + directory + pack("<I", following)


def page(height: int, width: int, **others: Entry) -> list[Entry]:
    """Return the entries of a grey page in one strip at byte 8; ``others`` replace them by name or are added."""
    entries = {
        "width": (256, LONG, 1, width),
        "height": (257, LONG, 1, height),
        "bits": (258, SHORT, 1, 8),
        "compression": (259, SHORT, 1, 1),
        "photometric": (262, SHORT, 1, 1),
        "offsets": (273, LONG, 1, 8),
        "samples": (277, SHORT, 1, 1),
        "rows": (278, LONG, 1, height),
        "counts": (279, LONG, 1, height * width % 2**32),
    }
    return sorted((entries | others).values())


@bomb("tiff: 30,000 x 30,000 pixels", LARGE, 30_000, 30_000)
@bomb("tiff: no height", SMALL, 0, 300)
@bomb("tiff: sides of 2^32 - 1", LARGE, 2**32 - 1, 2**32 - 1)
def sides(height: int, width: int) -> bytes:
    return tiff(page(height, width), bytes(90_000))


@bomb("tiff: strips without number", DAMAGED)
def strips() -> bytes:
    count = FILLING // 4
    return tiff(page(300, 300, offsets=(273, LONG, count, 8), counts=(279, LONG, count, 8)), b"\1\0\0\0" * count)


@bomb("tiff: depths without number", DAMAGED, 258, SHORT)
@bomb("tiff: a description that fills the file", DAMAGED, 270, TEXT)
@bomb("tiff: directories below without number", DAMAGED, 330, LONG)
@bomb("tiff: a table of colours that fills the file", DAMAGED, 320, SHORT)
@bomb("tiff: a microscope's notes that fill the file", DAMAGED, 34412, BYTE)
@bomb("tiff: tables of JPEG that fill the file", DAMAGED, 347, BYTE)
def long_value(code: int, kind: int) -> bytes:
    return tiff(
        page(300, 300, long=(code, kind, 2 * FILLING // {BYTE: 2, TEXT: 2, SHORT: 4, LONG: 8}[kind], 8)), bytes(FILLING)
    )


@bomb("tiff: 65,535 samples to a pixel", UNSUPPORTED, {"samples": (277, SHORT, 1, 65_535)})
@bomb("tiff: strips of 2^32 - 1 rows", BLANK, {"rows": (278, LONG, 1, 2**32 - 1), "counts": (279, LONG, 1, 90_000)})
@bomb("tiff: JPEG without a JPEG", DAMAGED, {"compression": (259, SHORT, 1, 7)})
def lie(others: dict[str, Entry]) -> bytes:
    return tiff(page(300, 300, **others), bytes(90_000))


@bomb("tiff: a microscope's frames that are nowhere", BLANK)
def frames() -> bytes:
    """Return what tifffile takes for frames without their own directory."""
    text = b"state.configPath = 1\rstate.acq.numberOfFrames=99999999\rscanimage.SI.\0"
    place = 8 + 90_000
    words = {code: (code, TEXT, len(text), place) for code in (270, 305)}
    return tiff(page(300, 300, description=words[270], software=words[305]), bytes(90_000) + text)


@bomb("tiff: a chain of directories, and a slide scanner's mark", BLANK)
def chain() -> bytes:
    """Return a chain of directories that tifffile follows to its end in files of this scanner."""
    first = page(300, 300, maker=(271, TEXT, 4, 0x414141), scanner=(65420, LONG, 1, 1))
    start = len(tiff(first, bytes(90_000)))
    links = np.zeros((ROOM - start) // 6, np.dtype([("entries", "<u2"), ("next", "<u4")]))
    links["next"] = np.arange(1, len(links) + 1) * 6 + start
    return tiff(first, bytes(90_000), following=start) + links.tobytes()


@bomb("tiff: a directory that follows itself", UNSUPPORTED)
def loop() -> bytes:
    return tiff(page(80, 72, thumbnail=(254, LONG, 1, 1)), GREY.tobytes(), following=8 + GREY.size)


@bomb("tiff: 65,009 entries", DAMAGED)
def entries() -> bytes:
    return tiff(page(300, 300) + [(65_000, LONG, 1, 0)] * 65_000, bytes(90_000))


@bomb("tiff: 4,000 times the depths, each the whole file", DAMAGED, 258, SHORT)
@bomb("tiff: 4,000 times the description, each the whole file", DAMAGED, 270, TEXT)
def all_of_it(code: int, kind: int) -> bytes:
    size = FILLING - 50_000
    again = [(code, kind, size // (1 if kind == TEXT else 2), 8)] * 4000
    return tiff(sorted(page(300, 300) + again), b"A" * size)


EMPTY = {5: b"\x80\x00\x80", 7: b"\xff\xfe\0\2", 8: b"\0\0\0\xff\xff", 32773: b"\x80"}
"""For each compression, data that decompresses to nothing, however long it is."""
HEADS = {7: b"\xff\xd8", 8: b"\x78\x01"}


@bomb("tiff: 16,000 strips of LZW, each the whole file and empty", DAMAGED, 5)
@bomb("tiff: 16,000 strips of JPEG, each the whole file and empty", DAMAGED, 7)
@bomb("tiff: 16,000 strips of Deflate, each the whole file and empty", DAMAGED, 8)
@bomb("tiff: 16,000 strips of PackBits, each the whole file and empty", DAMAGED, 32773)
def aliases(compression: int) -> bytes:
    count, length = 16_000, ROOM - 200_000
    numbers = pack("<I", 8 + 8 * count) * count + pack("<I", length) * count
    strips = page(
        count,
        300,
        compression=(259, SHORT, 1, compression),
        rows=(278, LONG, 1, 1),
        offsets=(273, LONG, count, 8),
        counts=(279, LONG, count, 8 + 4 * count),
    )
    return tiff(strips, numbers + filled(HEADS.get(compression, b""), EMPTY[compression], b"\0" * 5, length)[:length])


@bomb("tiff: one strip of LZW, empty", DAMAGED, 5)
@bomb("tiff: one strip of JPEG, empty", DAMAGED, 7)
@bomb("tiff: one strip of Deflate, empty", DAMAGED, 8)
@bomb("tiff: one strip of PackBits, empty", DAMAGED, 32773)
def empty(compression: int) -> bytes:
    data = filled(HEADS.get(compression, b""), EMPTY[compression], size=FILLING)
    return tiff(page(300, 300, compression=(259, SHORT, 1, compression), counts=(279, LONG, 1, len(data))), data)


def tiles(height: int, width: int, side: int, count: int) -> list[Entry]:
    """Return a tiled page whose tile offsets and lengths are at byte 8."""
    return page(
        height,
        width,
        tile_width=(322, LONG, 1, side),
        tile_length=(323, LONG, 1, side),
        tiles=(324, LONG, count, 8),
        lengths=(325, LONG, count, 8),
    )


@bomb("tiff: tiles of 65,520 pixels a side", DAMAGED)
def large_tiles() -> bytes:
    return tiff(tiles(80, 72, 65_520, 1), GREY.tobytes())


@bomb("tiff: tiles of one pixel", DAMAGED)
def tiny_tiles() -> bytes:
    count = FILLING // 4
    return tiff(tiles(5_000, 4_000, 1, count), b"\1\0\0\0" * count)
