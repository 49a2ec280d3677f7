"""The image formats that are read: how each is recognised, what is checked first, and what decodes it.

To add a format, add one line to IMAGE_FORMATS and one module with its functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lungseg.decode import raster
from lungseg.decode.bounds.jpeg import check_jpeg
from lungseg.decode.bounds.png import PNG_SIGNATURE, check_png
from lungseg.decode.damage import damage_reported
from lungseg.decode.radiograph import Radiograph

TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""Little and big endian, classic and BigTIFF."""

DICOM_MAGIC = b"DICM"
"""These four bytes follow a preamble of 128 (PS3.10 section 7.1)."""

FIRST_TAGS = (
    *(b"\x02\0\0\0", b"\x02\0\1\0", b"\x02\0\2\0"),
    *(b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0"),
)
"""Tags with which a DICOM file begins that lacks its preamble, or its file meta information as well."""


@dataclass(frozen=True)
class ImageFormat:
    """One format that is read.

    Attributes:
        name: as people write it.
        media_type: what an upload may declare; it is ignored when the format is detected.
        matches: whether a file has this format, by its first bytes.
        check: refuses a file whose headers exceed the limits, and returns the file as `decode` may see it, which is
            without whatever the image does not need. May raise any exception for a broken file.
        decode: decodes the checked file; its longer side may be reduced to the second argument, None for full size.
            May raise any exception for a broken file.
        is_written_by_pillow: whether Pillow can write the file from which the self-test checks `decode`.
    """

    name: str
    media_type: str
    matches: Callable[[bytes], bool]
    check: Callable[[bytes], bytes]
    decode: Callable[[bytes, int | None], Radiograph]
    is_written_by_pillow: bool = True

    def read(self, data: bytes, min_side: int | None) -> Radiograph:
        """Check a file, then decode it.

        Raises:
            ProblemError: DamagedImage for whatever a decoder raises.
        """
        with damage_reported(self.name):
            return self.decode(self.check(data), min_side)


def with_preamble(data: bytes) -> bytes | None:
    """Return a DICOM file as PS3.10 has it, with an empty preamble where it lacks one; None if it is not DICOM."""
    if data[128:132] == DICOM_MAGIC:
        return data
    if data.startswith(DICOM_MAGIC):
        return bytes(128) + data
    return bytes(128) + DICOM_MAGIC + data if data.startswith(FIRST_TAGS) else None


def format_names(conjunction: str) -> str:
    """Return the names of all formats as a clause, "PNG, JPEG and DICOM"; DICOM comes last."""
    *others, last = (each.name for each in sorted(IMAGE_FORMATS, key=lambda each: each.name == "DICOM"))
    return f"{', '.join(others)} {conjunction} {last}"


def _starts_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(signatures)


def _is_webp(data: bytes) -> bool:
    """Return whether a RIFF file is a WebP: its kind follows four bytes of length."""
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _is_dicom(data: bytes) -> bool:
    return data[128:132] == DICOM_MAGIC or data.startswith((DICOM_MAGIC, *FIRST_TAGS))


# What is imported within a function is for formats that are rarer than PNG and JPEG: a cold start does not load it.


def _check_bmp(data: bytes) -> bytes:
    from lungseg.decode.bounds.raster import check_bmp

    return check_bmp(data)


def _check_webp(data: bytes) -> bytes:
    from lungseg.decode.bounds.raster import check_webp

    return check_webp(data)


def _check_tiff(data: bytes) -> bytes:
    from lungseg.decode.bounds.tiff import check_tiff

    return check_tiff(data)


def _decode_dicom(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode import dicom

    return dicom.decode_dicom(data)


def _decode_tiff(data: bytes, _: int | None) -> Radiograph:
    from lungseg.decode import tiff

    return tiff.decode_tiff(data)


def _decode_with(pillow_name: str) -> Callable[[bytes, int | None], Radiograph]:
    return lambda data, min_side: raster.decode_raster(data, pillow_name, min_side)


IMAGE_FORMATS = (
    ImageFormat("PNG", "image/png", _starts_with(PNG_SIGNATURE), check_png, _decode_with("PNG")),
    ImageFormat("JPEG", "image/jpeg", _starts_with(b"\xff\xd8\xff"), check_jpeg, _decode_with("JPEG")),
    # The data set is checked while it is read.
    ImageFormat(
        "DICOM", "application/dicom", _is_dicom, lambda data: with_preamble(data) or data, _decode_dicom, False
    ),
    ImageFormat("TIFF", "image/tiff", _starts_with(*TIFF_SIGNATURES), _check_tiff, _decode_tiff),
    ImageFormat("BMP", "image/bmp", _starts_with(b"BM"), _check_bmp, _decode_with("BMP")),
    ImageFormat("WebP", "image/webp", _is_webp, _check_webp, _decode_with("WEBP")),
)
"""In the order in which they are tried: DICOM's preamble may begin as a TIFF or a BMP does."""
