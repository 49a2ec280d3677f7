"""Bombs that look like DICOM images."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from functools import partial
from struct import pack

import numpy as np
import pydicom
from bomb_pictures import jpeg, with_sides
from bombs import DAMAGED, FILM, LARGE, MEGABYTE, OTHER_DICOM, ROOM, SMALL, bomb, filled, zeros
from films import dicom, encode
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)
from seeds import GREY

OPEN = 2**32 - 1
"""An undefined length."""

ITEM, END_OF_ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
EMPTY = ITEM + bytes(4)
OPEN_ITEM = ITEM + b"\xff" * 4
FILLING = ROOM - MEGABYTE
"""Bytes that fill a file, with room left for an image."""


def element(group: int, number: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    """Return a data element; without a VR it is implicit VR."""
    length = len(value) if length is None else length
    tag = pack("<HH", group, number) + kind
    if kind in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return tag + pack("<HI", 0, length) + value
    return tag + pack("<I" if not kind else "<H", length) + value


def with_elements(elements: bytes, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return a DICOM image with more elements before its pixels."""
    image = dicom(GREY, TransferSyntaxUID=syntax)
    start = image.rindex(b"\xe0\x7f\x10\0" + (b"" if syntax == ImplicitVRLittleEndian else b"OB"))
    return image[:start] + elements + image[start:]


SMALLEST = element(0x29, 0x1001, b"CS", b"")


@bomb("dicom: 600,000 elements", OTHER_DICOM)
def elements() -> bytes:
    tags = ((0x31 + 2 * (each >> 16), each & 65535) for each in range(600_000))
    return with_elements(b"".join(pack("<HH2sH", *tag, b"CS", 0) for tag in tags))


@bomb("dicom: one element again and again", OTHER_DICOM)
def one_element() -> bytes:
    return with_elements(filled(b"", SMALLEST, size=FILLING))


@bomb("dicom: one element of file meta information again and again", OTHER_DICOM)
def meta() -> bytes:
    image = dicom(GREY)
    return image[:132] + filled(b"", element(2, 0x102, b"CS", b""), size=FILLING) + image[144:]


@bomb("dicom: items without number", OTHER_DICOM, b"", EMPTY, END, OPEN)
@bomb("dicom: elements without number in an item", OTHER_DICOM, OPEN_ITEM, SMALLEST, END_OF_ITEM + END, OPEN)
@bomb("dicom: sequences in sequences", DAMAGED, b"", OPEN_ITEM + b"\x08\0\x18\x22SQ\0\0\xff\xff\xff\xff", b"", OPEN)
@bomb("dicom: items that nothing looks at", FILM, b"", EMPTY, b"", None)
def sequence(head: bytes, unit: bytes, tail: bytes, length: int | None) -> bytes:
    return with_elements(element(0x08, 0x2218, b"SQ", filled(head, unit, tail, FILLING), length))


@bomb("dicom: a million lookup tables", OTHER_DICOM, 0x3010, b"", EMPTY)
@bomb("dicom: a million lookup tables of the modality", OTHER_DICOM, 0x3000, b"", EMPTY)
@bomb("dicom: a million elements in a lookup table", OTHER_DICOM, 0x3010, ITEM + pack("<I", 8 * 10**6), SMALLEST)
def tables(number: int, head: bytes, unit: bytes) -> bytes:
    return with_elements(element(0x28, number, b"SQ", head + unit * 10**6))


@bomb("dicom: lookup tables in lookup tables", FILM)
def nested_tables() -> bytes:
    """Return nested tables of defined length: only a reader that parses each one sees the next."""
    depth = 10_000
    levels = (
        ITEM + pack("<I", 20 * each - 8) + element(0x28, 0x3010, b"SQ", b"", 20 * (each - 1))
        for each in range(depth, 0, -1)
    )
    return with_elements(element(0x28, 0x3010, b"SQ", b"".join(levels)))


@bomb("dicom: a lookup table that fills the file", OTHER_DICOM, 0)
@bomb("dicom: a lookup table of one entry that fills the file", OTHER_DICOM, 1)
def table(entries: int) -> bytes:
    item = element(0x28, 0x3002, b"", pack("<HHH", entries, 0, 16)) + element(0x28, 0x3006, b"", bytes(FILLING))
    return with_elements(element(0x28, 0x3010, b"", ITEM + pack("<I", len(item)) + item), ImplicitVRLittleEndian)


@bomb("dicom: centres of windows without number", OTHER_DICOM, 0x28, 0x1050, b"1\\")
@bomb("dicom: spacings without number", OTHER_DICOM, 0x28, 0x0030, b"1\\")
@bomb("dicom: rows without number", OTHER_DICOM, 0x28, 0x0010, b"\1\1")
@bomb("dicom: numbers of frames without number", OTHER_DICOM, 0x28, 0x0008, b"1\\")
@bomb("dicom: paddings without number", OTHER_DICOM, 0x28, 0x0120, b"\1\1")
@bomb("dicom: colour models without number", OTHER_DICOM, 0x28, 0x0004, b"a\\")
@bomb("dicom: depths without number", OTHER_DICOM, 0x28, 0x0101, b"\1\0")
@bomb("dicom: orientations without number", OTHER_DICOM, 0x20, 0x0020, b"L\\")
@bomb("dicom: character sets without number", OTHER_DICOM, 0x08, 0x0005, b"a\\")
@bomb("dicom: slopes without number, and no intercept", FILM, 0x28, 0x1053, b"1\\")
def values(group: int, number: int, unit: bytes) -> bytes:
    return with_elements(element(group, number, b"", filled(b"", unit, size=FILLING)), ImplicitVRLittleEndian)


@bomb("dicom: one number of a million digits", OTHER_DICOM)
def digits() -> bytes:
    return with_elements(
        element(0x28, 0x1052, b"", b"1" * 10**6) + element(0x28, 0x1053, b"", b"1 "), ImplicitVRLittleEndian
    )


@bomb("dicom: 32,000 character sets again and again", OTHER_DICOM)
def character_sets() -> bytes:
    return with_elements(filled(b"", element(0x08, 0x05, b"CS", b"a\\" * 32_000), size=FILLING))


@bomb("dicom: sides of 65,535", LARGE, {"Rows": 65_535, "Columns": 65_535})
@bomb("dicom: no rows", SMALL, {"Rows": 0})
@bomb("dicom: 6,000 x 6,000 pixels in 6 KB", DAMAGED, {"Rows": 6_000, "Columns": 6_000})
@bomb("dicom: 2^31 frames", OTHER_DICOM, {"NumberOfFrames": 2**31 - 1})
@bomb("dicom: 65,535 bits", OTHER_DICOM, {"BitsAllocated": 65_535, "BitsStored": 65_535})
@bomb("dicom: no bits", DAMAGED, {"BitsStored": 0})
@bomb("dicom: 65,535 samples to a pixel", OTHER_DICOM, {"SamplesPerPixel": 65_535})
def lie(elements: dict[str, object]) -> bytes:
    return dicom(GREY, **elements)


def deflated(plain: bytes) -> bytes:
    """Return a deflated DICOM image of a plain data set."""
    image = dicom(GREY, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return image[: 144 + int.from_bytes(image[140:144], "little")] + packer.compress(plain) + packer.flush()


@bomb("dicom: deflated zeros", LARGE)
def deflated_zeros() -> bytes:
    return deflated(b"")[:-2] + zeros(wrapped=False)


@bomb("dicom: deflated, of elements without number", OTHER_DICOM)
def deflated_elements() -> bytes:
    values = np.random.default_rng(1).integers(0, 256, 4 * 10**5, np.uint8).tobytes()
    units = (element(0x29, 0x1001, b"CS", values[start : start + 2]) for start in range(0, len(values), 2))
    return deflated(b"".join(units))


@bomb("dicom: a deflated stream that gives nothing", DAMAGED)
def deflated_nothing() -> bytes:
    return filled(deflated(b"")[:-2], b"\0\0\0\xff\xff")


@bomb("dicom: a second transfer syntax, by which it inflates", DAMAGED)
def two_syntaxes() -> bytes:
    image = dicom(GREY)
    end = 144 + int.from_bytes(image[140:144], "little")
    syntax = element(2, 0x10, b"UI", DeflatedExplicitVRLittleEndian.encode())
    return image[:end] + syntax + zeros(wrapped=False)


def encapsulated(value: bytes, syntax: UID = JPEGBaseline8Bit, pixels: NDArray[np.uint8] = GREY) -> bytes:
    """Return a compressed DICOM image with the given encapsulated pixel data."""
    image = dicom(pixels, TransferSyntaxUID=syntax, PixelData=encapsulate([b"\0\0"]))
    return image[: image.rindex(b"\xe0\x7f\x10\0OB")] + element(0x7FE0, 0x10, b"OB", value, OPEN)


def fragment(frame: bytes) -> bytes:
    """Return pixel data in one fragment, after an empty offset table."""
    return EMPTY + ITEM + pack("<I", len(frame)) + frame + END


@bomb("dicom: empty pieces without number", OTHER_DICOM, EMPTY, EMPTY)
@bomb("dicom: pieces of two bytes without number", OTHER_DICOM, EMPTY, ITEM + b"\2\0\0\0\xff\xff")
@bomb("dicom: offsets without number", DAMAGED, ITEM + pack("<I", FILLING - 16 - FILLING % 4), bytes(4))
def pieces(head: bytes, unit: bytes) -> bytes:
    return encapsulated(filled(head, unit, END, FILLING))


@bomb("dicom: a piece of 2^32 - 2 bytes", DAMAGED)
def piece() -> bytes:
    return encapsulated(EMPTY + ITEM + b"\xfe\xff\xff\xff" + bytes(100) + END)


@bomb(
    "dicom: a JPEG of 65,535 pixels a side",
    DAMAGED,
    lambda stream: with_sides(stream, 65_535, 65_535),
    JPEGBaseline8Bit,
)
@bomb("dicom: a JPEG of the smallest segments", DAMAGED,
      lambda stream: filled(stream[:20], b"\xff\xfe\0\2", stream[20:], FILLING), JPEGBaseline8Bit)  # fmt: skip
@bomb("dicom: a JPEG-LS of the smallest segments", DAMAGED,
      lambda stream: filled(stream[:20], b"\xff\xfe\0\2", stream[20:], FILLING), JPEGLSLossless)  # fmt: skip
@bomb("dicom: a JPEG of ten thousand segments", DAMAGED,
      lambda stream: stream[:20] + b"\xff\xfe\0\2" * 30_000 + stream[20:], JPEGBaseline8Bit)  # fmt: skip
def inside(change: Callable[[bytes], bytes], syntax: UID) -> bytes:
    return encapsulated(fragment(change(jpeg())), syntax)


RUNS = pack("<16I", 1, 64, *[0] * 14)


@bomb("dicom: runs that unpack to 64 times the file", DAMAGED, RUNS, b"\x81\0", FILLING)
@bomb("dicom: runs that give nothing", DAMAGED, RUNS, b"\x80", FILLING)
@bomb("dicom: 2^32 - 1 planes of runs", DAMAGED, b"\xff" * 64, b"\x81\0", 300)
@bomb("dicom: planes of runs that lie nowhere", DAMAGED, pack("<16I", 1, OPEN, *[0] * 14), b"\x81\0", 300)
def runs(head: bytes, unit: bytes, size: int) -> bytes:
    return encapsulated(fragment(filled(head, unit, size=size)), RLELossless)


def with_style(stream: bytes, exponents: int, layers: int) -> bytes:
    """Return a codestream with other precincts and layers (T.800 section A.6.1)."""
    start = stream.index(b"\xff\x52")
    length = int.from_bytes(stream[start + 2 : start + 4], "big")
    style = bytearray(stream[start + 4 : start + 2 + length])
    style[0] |= 1
    style[2:4] = pack(">H", layers)
    style = style[:10] + bytes([exponents]) * (style[5] + 1)
    return stream[: start + 2] + pack(">H", len(style) + 2) + style + stream[start + 2 + length :]


@bomb("dicom: JPEG 2000 in precincts of one pixel", DAMAGED, partial(with_style, exponents=0, layers=1))
@bomb("dicom: JPEG 2000 in 65,535 layers", DAMAGED, partial(with_style, exponents=0x66, layers=65_535))
@bomb("dicom: JPEG 2000 in tiles of one pixel", DAMAGED, lambda stream: stream[:24] + pack(">II", 1, 1) + stream[32:])
@bomb("dicom: JPEG 2000 with sides of 2^32 - 1", DAMAGED, lambda stream: stream[:8] + b"\xff" * 8 + stream[16:])
@bomb("dicom: JPEG 2000 with 16,384 components", DAMAGED, lambda stream: stream[:40] + b"\x40\0" + stream[42:])
@bomb("dicom: JPEG 2000 of the smallest segments", DAMAGED,
      lambda stream: filled(stream[:47], b"\xff\x64\0\2", stream[47:], FILLING))  # fmt: skip
def codestream(change: Callable[[bytes], bytes]) -> bytes:
    plain = np.zeros((1500, 1500), np.uint8)
    stream = encode(Image.fromarray(plain), "JPEG2000", no_jp2=True)
    return encapsulated(fragment(change(stream)), JPEG2000Lossless, plain)


@bomb("dicom: an image within the file meta information of another", FILM)
def film_in_film() -> bytes:
    image = dicom(GREY)
    data = pydicom.dcmread(io.BytesIO(image))
    data.file_meta.PrivateInformationCreatorUID = "1.2.3"
    data.file_meta.PrivateInformation = image
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
