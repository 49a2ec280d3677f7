"""Bytes to radiograph: the format is told by content, the limits are checked on the header, then pixels are read."""

from __future__ import annotations

import logging
from codecs import getincrementaldecoder
from dataclasses import replace

from lungseg import errors, limits
from lungseg.decode.formats import IMAGE_FORMATS, format_names, with_preamble
from lungseg.decode.radiograph import Radiograph

__all__ = ["Radiograph", "decode", "with_preamble"]

# It reports odd chunks and profiles by quoting them.
logging.getLogger("imagecodecs").disabled = True

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What is left of a byte that was not UTF-8 when something read the image as text (EF BF BD)."""

PIECE_BYTES = 2**20
"""Bytes that are looked at at once."""


def decode(data: bytes, least: int | None = None) -> Radiograph:
    """Decode one image: PNG, JPEG, TIFF, BMP, WebP or DICOM.

    Args:
        data: the whole file. File names and declared types play no part.
        least: what suffices as the longer side of the picture; a JPEG is decoded to no more than it needs. None is all.

    Returns:
        The image, white where the detector saw least (bone), whatever the file's own convention.

    Raises:
        EmptyBody, TooLarge, MangledBody, UnsupportedFormat, UnsupportedDicom, OwnOutput, DamagedImage,
            TooSmall.
    """
    limits.check_bytes(len(data))
    try:
        return replace(_decode(data, least), file_bytes=data)
    except (errors.UnsupportedFormat, errors.UnsupportedDicom, errors.DamagedImage):
        if _was_text(data):
            raise errors.MangledBody("The body contains the bytes EF BF BD, which only a text conversion writes.") from None
        raise


def _decode(data: bytes, least: int | None) -> Radiograph:
    """Decode an image by its first bytes."""
    for each in IMAGE_FORMATS:
        if each.matches(data):
            return each.read(data, least)
    raise errors.UnsupportedFormat(f"The content is not {format_names('or')}.")


def _was_text(data: bytes) -> bool:
    """Whether something read the image as UTF-8 and wrote it again: all of it is UTF-8 by now, which no image is."""
    decoder, found = getincrementaldecoder("utf-8")(), False
    try:
        for start in range(0, len(data), PIECE_BYTES):
            text = decoder.decode(data[start : start + PIECE_BYTES], final=start + PIECE_BYTES >= len(data))
            found = found or REPLACEMENT_CHARACTER in text
    except UnicodeDecodeError:
        return False
    return found
