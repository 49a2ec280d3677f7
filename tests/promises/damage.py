"""One radiograph in every supported codec, and ways to damage its coded data."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import imagecodecs
import numpy as np
from films import dicom, encode, png
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from tifffile import COMPRESSION

from lungseg.decode import selftest
from lungseg.decode.bounds.png import png_chunk

Grey = NDArray[np.uint8] | NDArray[np.uint16]

PLACES = (0.05, 0.95)
"""Where damage starts, as fractions of the coded data."""

NAMES = {
    JPEGBaseline8Bit: "JPEG baseline",
    JPEGExtended12Bit: "JPEG extended",
    JPEGLossless: "JPEG lossless",
    JPEGLosslessSV1: "JPEG lossless SV1",
    JPEGLSLossless: "JPEG-LS",
    JPEGLSNearLossless: "JPEG-LS near-lossless",
    JPEG2000Lossless: "JPEG 2000 lossless",
    JPEG2000: "JPEG 2000",
    HTJ2KLossless: "HTJ2K lossless",
    HTJ2KLosslessRPCL: "HTJ2K lossless RPCL",
    HTJ2K: "HTJ2K",
}


@dataclass(frozen=True)
class Coded:
    """A coded image.

    Attributes:
        stream: the codec's output.
        start, end: where the coded data starts and ends in it, without headers.
        wrap: puts a stream into a file.
    """

    stream: bytes
    start: int
    end: int
    wrap: Callable[[bytes], bytes] = bytes

    @property
    def file(self) -> bytes:
        """The whole file."""
        return self.wrap(self.stream)


def jpeg(stream: bytes, wrap: Callable[[bytes], bytes] = bytes) -> Coded:
    """Return a JPEG or JPEG-LS; its data starts after the first scan header."""
    scan = stream.index(b"\xff\xda")
    return Coded(
        stream, scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4], "big"), stream.rindex(b"\xff\xd9"), wrap
    )


def jpeg_2000(stream: bytes, wrap: Callable[[bytes], bytes]) -> Coded:
    """Return a JPEG 2000 codestream of one tile-part."""
    return Coded(stream, stream.index(b"\xff\x93") + 2, stream.rindex(b"\xff\xd9"), wrap)


def in_dicom(syntax: UID, pixels: Grey, bits: int, **elements: object) -> Callable[[bytes], bytes]:
    """Return a function that puts a stream into a DICOM object."""

    def wrap(stream: bytes) -> bytes:
        return dicom(
            pixels,
            TransferSyntaxUID=syntax,
            PixelData=encapsulate([stream]),
            BitsStored=bits,
            HighBit=bits - 1,
            **elements,
        )

    return wrap


def in_tiff(compression: int, pixels: Grey) -> Callable[[bytes], bytes]:
    """Return a function that puts a stream into a TIFF of one strip."""

    def wrap(stream: bytes) -> bytes:
        height, width = pixels.shape
        tags = [
            (256, 4, width),
            (257, 4, height),
            (258, 3, 8 * pixels.itemsize),
            (259, 3, compression),
            (262, 3, 1),
            (273, 4, 8),
            (277, 3, 1),
            (278, 4, height),
            (279, 4, len(stream)),
        ]
        directory = struct.pack("<H", len(tags)) + b"".join(
            struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags
        )
        stream += bytes(len(stream) % 2)
        return b"II*\0" + struct.pack("<I", 8 + len(stream)) + stream + directory + bytes(4)

    return wrap


def pillow(pixels: Grey, file_format: str, **options: object) -> bytes:
    """Return a file written by Pillow."""
    return encode(Image.fromarray(pixels), file_format, **options)


def in_png(file: bytes) -> Coded:
    """Return a PNG with one data chunk and a valid checksum."""
    stream, position, head = b"", 8, b""
    while position < len(file):
        length, kind = struct.unpack_from(">I4s", file, position)
        if kind == b"IDAT":
            stream += file[position + 8 : position + 8 + length]
        elif kind == b"IHDR":
            head = file[: position + 12 + length]
        position += length + 12
    return Coded(stream, 2, len(stream), lambda data: head + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b""))


def in_webp(file: bytes) -> Coded:
    """Return a WebP of one chunk."""

    def wrap(data: bytes) -> bytes:
        body = b"WEBP" + file[12:16] + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
        return b"RIFF" + struct.pack("<I", len(body)) + body

    (length,) = struct.unpack_from("<I", file, 16)
    return Coded(file[20 : 20 + length], 12, length, wrap)


def rle(pixels: Grey) -> Coded:
    """Return DICOM RLE, after its header of 64 bytes."""
    planes = [pixels] if pixels.itemsize == 1 else [(pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)]
    parts = [b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in plane) for plane in planes]
    parts = [part + bytes(len(part) % 2) for part in parts]
    offsets = [64 + sum(map(len, parts[:nth])) for nth in range(len(parts))]
    stream = struct.pack("<16I", len(parts), *offsets, *[0] * (15 - len(parts))) + b"".join(parts)
    return Coded(stream, 64, len(stream), in_dicom(RLELossless, pixels, 8 * pixels.itemsize))


def coded(grey: NDArray[np.uint8]) -> dict[str, Callable[[], Coded]]:
    """Return the codecs by name, each with a function that encodes an 8-bit radiograph."""
    wide = grey.astype(np.uint16) << np.uint16(selftest.DICOM_BITS - 8)
    wide |= np.random.default_rng(1).integers(0, 8, wide.shape).astype(np.uint16)  # a detector's lower bits are noise
    colour = np.repeat(grey[..., None], 3, axis=2)

    def syntax(uid: UID, code: Callable[[bytes, Callable[[bytes], bytes]], Coded]) -> Callable[[], Coded]:
        pixels: Grey = grey if uid == JPEGBaseline8Bit else wide
        wrap = in_dicom(uid, pixels, 8 if uid == JPEGBaseline8Bit else selftest.DICOM_BITS)
        return lambda: code(bytes(selftest.ENCODERS[uid](pixels)), wrap)

    found = {
        "JPEG baseline": lambda: jpeg(pillow(grey, "JPEG", quality=90)),
        "JPEG progressive": lambda: jpeg(pillow(grey, "JPEG", quality=90, progressive=True)),
        "JPEG with restarts": lambda: jpeg(pillow(grey, "JPEG", quality=90, restart_marker_rows=4)),
        "JPEG in colour": lambda: jpeg(pillow(colour, "JPEG", quality=90)),
        "PNG": lambda: in_png(png(grey)),
        "PNG of 16 bits": lambda: in_png(png(wide)),
        "PNG in colour": lambda: in_png(pillow(colour, "PNG")),
        "WebP lossy": lambda: in_webp(pillow(colour, "WEBP", quality=90)),
        "WebP lossless": lambda: in_webp(pillow(colour, "WEBP", lossless=True)),
        "TIFF LZW": lambda: tiff(COMPRESSION.LZW, imagecodecs.lzw_encode(grey.tobytes()), grey),
        "TIFF Deflate": lambda: tiff(COMPRESSION.ADOBE_DEFLATE, imagecodecs.zlib_encode(grey.tobytes()), grey),
        "TIFF PackBits": lambda: tiff(COMPRESSION.PACKBITS, packbits(grey), grey),
        "TIFF JPEG": lambda: jpeg(pillow(grey, "JPEG", quality=90), in_tiff(COMPRESSION.JPEG, grey)),
        "DICOM RLE 8": lambda: rle(grey),
        "DICOM RLE 16": lambda: rle(wide),
    }
    for uid, name in NAMES.items():
        found[f"DICOM {name}"] = syntax(uid, jpeg_2000 if "2000" in name or "HTJ2K" in name else jpeg)
    return found


def packbits(pixels: Grey) -> bytes:
    """Return PackBits, row by row."""
    return b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in pixels)


def tiff(compression: int, coded_strip: bytes | bytearray, pixels: Grey) -> Coded:
    """Return a TIFF of one strip."""
    stream = bytes(coded_strip)
    return Coded(stream, 2, len(stream), in_tiff(int(compression), pixels))


def damaged(image: Coded, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` damaged copies of a file, each with a description of the damage."""
    random = np.random.default_rng(seed)
    length = image.end - image.start
    for nth in range(count):
        data = bytearray(image.stream)
        place = image.start + int(random.uniform(*PLACES) * length)
        size = max(8, int(random.choice((0.003, 0.03, 0.1)) * length))
        match nth % 5:
            case 0:
                first = image.start + int(random.uniform(0.3, 0.7) * length)
                data[first : image.end] = bytes(image.end - first)
                kind = "zeroed"
            case 1:
                del data[place : min(place + size, image.end)]
                kind = "hole"
            case 2:
                end = min(place + size, image.end)
                data[place:end] = bytes(byte ^ 0xFF for byte in data[place:end])
                kind = "flipped"
            case 3:
                del data[place : image.end]
                kind = "cut"
            case _:
                end = min(place + size, image.end)
                data[place:end] = bytes(end - place)
                kind = "zeros inside"
        yield kind, image.wrap(bytes(data))
