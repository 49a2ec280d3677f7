"""The image formats that are read: how each is recognised by its content, and who decodes it.

A new format is one entry of FORMATS, and its decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lungseg import errors
from lungseg.decode import raster
from lungseg.decode.bounds import jpeg, png
from lungseg.decode.radiograph import Radiograph

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
BMP = b"BM"
RIFF, WEBP = b"RIFF", b"WEBP"
"""A WebP is a RIFF file: its kind stands behind four bytes of length."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Little and big endian, classic and BigTIFF."""
DICOM = b"DICM"
"""PS3.10 section 7.1: these four bytes follow a preamble of 128."""

BARE = (b"\x02\0\0\0", b"\x02\0\1\0", b"\x02\0\2\0", b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0")
"""Tags with which a DICOM file begins that lacks its preamble, or its file meta information as well."""


@dataclass(frozen=True)
class ImageFormat:
    """One format that is read.

    Attributes:
        name: as people write it.
        media_type: that an upload may declare; it plays no part in the decision.
        matches: whether a file is one, by its first bytes.
        decode: a file as a radiograph; the second argument is what suffices as its longer side, None for all of it.
            Checks the header before it reads pixels.
    """

    name: str
    media_type: str
    matches: Callable[[bytes], bool]
    decode: Callable[[bytes, int | None], Radiograph]


def with_preamble(data: bytes) -> bytes | None:
    """Return a DICOM file as PS3.10 has it, with an empty preamble where it lacks one; None if it is none at all."""
    if data[128:132] == DICOM:
        return data
    if data.startswith(DICOM):
        return bytes(128) + data
    return bytes(128) + DICOM + data if data.startswith(BARE) else None


def names(conjunction: str) -> str:
    """Return the names of all formats as a clause, "PNG, JPEG and DICOM"; DICOM comes last."""
    *others, last = (each.name for each in sorted(FORMATS, key=lambda each: each.name == "DICOM"))
    return f"{', '.join(others)} {conjunction} {last}"


def _decode_png(data: bytes, _: int | None) -> Radiograph:
    if png.is_own(data):
        raise errors.OwnOutput("The PNG is an output of this program.")
    return raster.decode(data, "PNG", png.lean)


def _decode_jpeg(data: bytes, least: int | None) -> Radiograph:
    return raster.decode(data, "JPEG", jpeg.lean, least)


def _is_dicom(data: bytes) -> bool:
    return data[128:132] == DICOM or data.startswith((DICOM, *BARE))


def _decode_dicom(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode import dicom  # pydicom is slow to import, and most images are PNG or JPEG

    whole = with_preamble(data)
    assert whole is not None
    return dicom.decode(whole)


def _decode_tiff(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode import tiff

    return tiff.decode(data)


def _decode_bmp(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode.bounds.raster import check_bmp

    return raster.decode(data, "BMP", check_bmp)


def _decode_webp(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode.bounds.raster import check_webp

    return raster.decode(data, "WEBP", check_webp)


FORMATS = (
    ImageFormat("PNG", "image/png", lambda data: data.startswith(PNG), _decode_png),
    ImageFormat("JPEG", "image/jpeg", lambda data: data.startswith(JPEG), _decode_jpeg),
    ImageFormat("DICOM", "application/dicom", _is_dicom, _decode_dicom),
    ImageFormat("TIFF", "image/tiff", lambda data: data.startswith(TIFF), _decode_tiff),
    ImageFormat("BMP", "image/bmp", lambda data: data.startswith(BMP), _decode_bmp),
    ImageFormat("WebP", "image/webp", lambda data: data.startswith(RIFF) and data[8:12] == WEBP, _decode_webp),
)
"""In the order in which they are tried: DICOM's preamble may begin as a TIFF or a BMP does."""
