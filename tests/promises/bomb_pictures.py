"""Bombs that look like PNG, JPEG, BMP and WebP images."""

from __future__ import annotations

import zlib
from struct import pack

from bombs import DAMAGED, FILM, LARGE, ROOM, SMALL, UNSUPPORTED, bomb, filled, zeros
from films import encode
from PIL import Image
from seeds import GREY, png_of

from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk

FILM_PNG = png_of(GREY, 8, 0)


def png(width: int, height: int, stream: bytes, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    header = pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", stream) + png_chunk(b"IEND", b"")


def within(part: bytes) -> bytes:
    """Return a PNG with something added."""
    return FILM_PNG[:33] + part + FILM_PNG[33:]


@bomb("png: 30,000 x 30,000 pixels", LARGE, 30_000, 30_000)
@bomb("png: no height", SMALL, 300, 0)
@bomb("png: no sides", SMALL, 0, 0)
@bomb("png: sides of 2^31", LARGE, 2**31, 2**31)
@bomb("png: sides of 2^31 - 1", LARGE, 2**31 - 1, 2**31 - 1)
@bomb("png: 320 MB of rows in 40 KB", DAMAGED, 16_000, 2_500, 38, 16, 6)
def png_sides(width: int, height: int, megabytes: int = 30, depth: int = 8, colour: int = 0) -> bytes:
    return png(width, height, zeros(megabytes), depth, colour)


# Ancillary chunks are skipped, so these are the images that they claim to be.
@bomb("png: a text that inflates to 1 GB", FILM, b"zTXt", b"t\0\0")
@bomb("png: a text of Unicode that inflates to 1 GB", FILM, b"iTXt", b"t\0\1\0\0\0")
@bomb("png: a colour profile that inflates to 1 GB", FILM, b"iCCP", b"p\0\0")
def png_text(kind: bytes, head: bytes) -> bytes:
    return within(png_chunk(kind, head + zeros(1024)))


@bomb("png: a text that may hold the orientation, of 1 GB", DAMAGED)
def png_xmp() -> bytes:
    return within(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zeros(900)))


@bomb("png: 1,000 texts that inflate to 1 MB each", FILM)
def png_texts() -> bytes:
    return within(png_chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(2**20 - 1), 9)) * 1000)


@bomb("png: animated, of 2^31 frames of 2^31 pixels", FILM)
def png_animated() -> bytes:
    frame = png_chunk(b"fcTL", pack(">IIIIIHHBB", 1, 2**31 - 1, 2**31 - 1, 0, 0, 1, 1, 0, 0))
    return within(png_chunk(b"acTL", pack(">II", 2**31 - 1, 0)) + frame)


@bomb("png: grey that inflates a thousandfold behind its picture", DAMAGED, 8, 0, 0)
@bomb("png: colour of 16 bits that does", DAMAGED, 16, 2, 0)
@bomb("png: interlaced colour of 16 bits that does", DAMAGED, 16, 2, 1)
@bomb("png: grey that does so for 100 MB only", DAMAGED, 8, 0, 0, 100)
@bomb("png: colour of 16 bits that does so for 100 MB only", DAMAGED, 16, 2, 0, 100)
def png_stream(depth: int, colour: int, interlaced: int, megabytes: int = ROOM // 1040) -> bytes:
    return png(300, 300, zeros(megabytes), depth, colour, interlaced)


@bomb("png: the smallest chunks", DAMAGED, b"prVt", 33)
@bomb("png: the smallest parts of its stream", DAMAGED, b"IDAT", 33)
@bomb("png: the smallest chunks behind its stream", DAMAGED, b"prVt", -12)
def png_chunks(kind: bytes, place: int) -> bytes:
    return filled(FILM_PNG[:place], png_chunk(kind, b""), FILM_PNG[place:])


@bomb("png: a palette that fills the file", FILM, b"PLTE")
@bomb("png: a private chunk that fills the file", FILM, b"prVt")
def png_full_chunk(kind: bytes) -> bytes:
    return within(png_chunk(kind, bytes(ROOM - 2000)))


@bomb("png: EXIF of 65,535 entries", FILM)
def png_exif() -> bytes:
    entries = b"".join(pack("<HHII", code, 2, 700_000, 8) for code in range(65_535))
    return within(png_chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff" + entries))


def jpeg(**options: object) -> bytes:
    return encode(Image.fromarray(GREY), "JPEG", **options)


def with_sides(stream: bytes, height: int, width: int) -> bytes:
    """Return a JPEG stream that declares another size."""
    frames = [stream.find(bytes([0xFF, marker])) for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)]
    frame = min(each for each in frames if each >= 0)
    return stream[: frame + 5] + pack(">HH", height, width) + stream[frame + 9 :]


def with_segment(marker: int, body: bytes) -> bytes:
    """Return a JPEG with one more segment after the first."""
    image = jpeg()
    return image[:20] + pack(">BBH", 0xFF, marker, len(body) + 2) + body + image[20:]


@bomb("jpeg: sides of 65,535", LARGE, 65_535, 65_535)
@bomb("jpeg: no width", DAMAGED, 80, 0)
@bomb("jpeg: no height, stated behind the scan (DNL)", DAMAGED, 0, 72)
@bomb("jpeg: 40 megapixels in 2 KB", DAMAGED, 2_500, 16_000)
def jpeg_sides(height: int, width: int) -> bytes:
    return with_sides(jpeg(), height, width)[:-2] + pack(">HHH", 0xFFDC, 4, 80) + b"\xff\xd9"


@bomb("jpeg: the smallest scans", DAMAGED)
def jpeg_scans() -> bytes:
    image = jpeg(progressive=True)
    start = image.rindex(b"\xff\xda")
    return filled(image[:start], image[start : start + 12], image[start:])


@bomb("jpeg: 45 scans of 39 megapixels in 20 KB", DAMAGED)
def jpeg_long_scans() -> bytes:
    image = with_sides(encode(Image.new("L", (16, 16)), "JPEG", progressive=True), 2_496, 15_872)
    start = image.rindex(b"\xff\xda")
    return image[:start] + image[start:-2] * (45 - image.count(b"\xff\xda") + 1) + bytes(20_000) + image[-2:]


@bomb("jpeg: the smallest segments", DAMAGED, b"\xff\xfe\0\2")
@bomb("jpeg: the smallest application segments", DAMAGED, b"\xff\xe5\0\3\0")
@bomb("jpeg: bytes that belong to no segment", DAMAGED, b"\0")
@bomb("jpeg: fill bytes", DAMAGED, b"\xff")
@bomb("jpeg: EXIF in as many segments as there is room for", FILM, b"\xff\xe1\xff\xffExif\0\0" + bytes(65_527))
@bomb(
    "jpeg: resources of Photoshop", FILM, b"\xff\xed\xff\xffPhotoshop 3.0\0" + (b"8BIM" + bytes(8)) * 5459 + bytes(11)
)
def jpeg_segments(unit: bytes) -> bytes:
    image = jpeg()
    return filled(image[:20], unit, image[20:])


@bomb("jpeg: the smallest comments behind the first scan", FILM)
def jpeg_comments() -> bytes:
    image = jpeg(progressive=True)
    second = image.index(b"\xff\xda", image.index(b"\xff\xda") + 2)
    return filled(image[:second], b"\xff\xfe\0\2", image[second:])


@bomb("jpeg: 2^31 pictures in one file", FILM)
def jpeg_multi() -> bytes:
    entries = pack("<HHII", 45057, 4, 1, 2**31) + pack("<HHII", 45058, 7, 2**31, 8)
    return with_segment(0xE2, b"MPF\0II*\0\x08\0\0\0\2\0" + entries + bytes(4))


@bomb("jpeg: EXIF that is its own next directory", FILM)
def jpeg_exif() -> bytes:
    return with_segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0" + pack("<HHII", 0x8769, 4, 1, 8) + pack("<I", 8))


@bomb("bmp: sides of 2^31", LARGE, 2**31 - 1, 2**31 - 1, 0, b"")
@bomb("bmp: sides of 30,000", LARGE, 30_000, -30_000, 0, b"")
@bomb("bmp: runs of one pixel", UNSUPPORTED, 16_000, 2_500, 1, b"\1\x80")
@bomb("bmp: runs that move nowhere", UNSUPPORTED, 300, 300, 1, b"\0\2\0\0")
def bmp(width: int, height: int, compression: int, unit: bytes) -> bytes:
    header = pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, 0, 0, 0, 256, 0)
    head = b"BM" + pack("<IHHI", ROOM, 0, 0, 54 + 1024) + header + bytes(1024)
    return filled(head, unit) if unit else head


def webp(body: bytes) -> bytes:
    return b"RIFF" + pack("<I", 4 + len(body)) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0) -> bytes:
    """Return the chunk of an extended WebP that declares its size."""
    sides = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    return b"VP8X" + pack("<II", 10, flags) + sides


@bomb("webp: a canvas of 2^24 pixels a side", DAMAGED)
def webp_canvas() -> bytes:
    return webp(canvas(2**24, 2**24) + b"VP8L" + pack("<I", 21) + b"\x2f" + bytes(21))


@bomb("webp: the smallest chunks", DAMAGED)
def webp_chunks() -> bytes:
    image = encode(Image.fromarray(GREY), "WEBP")
    return webp(filled(canvas(72, 80), b"prVt" + bytes(4), image[12:], ROOM - 12))


@bomb("webp: the smallest frames", DAMAGED)
def webp_frames() -> bytes:
    pixel = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    frame = bytes(12) + b"\1\0\0\0" + pixel
    unit = b"ANMF" + pack("<I", len(frame)) + frame
    return webp(filled(canvas(300, 300, flags=2) + b"ANIM" + pack("<I", 6) + bytes(6), unit, b"", ROOM - 12))
