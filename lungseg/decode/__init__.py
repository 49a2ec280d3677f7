"""Bytes to radiograph: the format is told by content, the limits are checked on the header, then pixels are read."""

from __future__ import annotations

import logging
from codecs import getincrementaldecoder

from lungseg import errors, limits
from lungseg.decode import raster
from lungseg.decode.bounds.png import is_own
from lungseg.decode.radiograph import Radiograph

__all__ = ["Radiograph", "decode", "with_preamble"]

# It reports odd chunks and profiles by quoting them.
logging.getLogger("imagecodecs").disabled = True

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

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What is left of a byte that was not UTF-8 when something read the film as text (EF BF BD)."""

PIECE = 2**20
"""Bytes that are looked at at once."""


def decode(data: bytes, least: int | None = None) -> Radiograph:
    """Decode one film: PNG, JPEG, TIFF, BMP, WebP or DICOM.

    Args:
        data: the whole file. File names and declared types play no part.
        least: what suffices as the longer side of the picture; a JPEG is decoded to no more than it needs. None is all.

    Returns:
        The film, white where the detector saw least (bone), whatever the file's own convention.

    Raises:
        EmptyBody, TooLarge, MangledBody, UnsupportedFormat, UnsupportedDicom, OwnOutput, DamagedFilm,
            TooSmall.
    """
    limits.check_bytes(len(data))
    try:
        return _decode(data, least)
    except (errors.UnsupportedFormat, errors.UnsupportedDicom, errors.DamagedFilm):
        if _was_text(data):
            raise errors.MangledBody("The body holds what only a text conversion writes (EF BF BD).") from None
        raise


def _decode(data: bytes, least: int | None) -> Radiograph:
    """Decode a film by its first bytes."""
    if data.startswith(PNG):
        if is_own(data):
            raise errors.OwnOutput("The PNG is an output of this program.")
        return raster.decode(data, "PNG")
    if data.startswith(JPEG):
        return raster.decode(data, "JPEG", least)
    whole = with_preamble(data)
    if whole is not None:
        from lungseg.decode import dicom  # pydicom is slow to import, and most films are PNG or JPEG

        return dicom.decode(whole)
    if data.startswith(TIFF):
        from lungseg.decode import tiff

        return tiff.decode(data)
    if data.startswith(RIFF) and data[8:12] == WEBP:
        return raster.decode(data, "WEBP")
    if data.startswith(BMP):
        return raster.decode(data, "BMP")
    raise errors.UnsupportedFormat("The content is none of PNG, JPEG, TIFF, BMP, WebP and DICOM.")


def with_preamble(data: bytes) -> bytes | None:
    """Return a DICOM file as PS3.10 has it, with an empty preamble where it lacks one; None if it is none at all."""
    if data[128:132] == DICOM:
        return data
    if data.startswith(DICOM):
        return bytes(128) + data
    return bytes(128) + DICOM + data if data.startswith(BARE) else None


def _was_text(data: bytes) -> bool:
    """Whether something read the film as UTF-8 and wrote it again: all of it is UTF-8 by now, which no film is."""
    decoder, found = getincrementaldecoder("utf-8")(), False
    try:
        for start in range(0, len(data), PIECE):
            text = decoder.decode(data[start : start + PIECE], final=start + PIECE >= len(data))
            found = found or REPLACEMENT in text
    except UnicodeDecodeError:
        return False
    return found
