"""Bytes to radiograph: detect the format from content, check the limits on the header, then decode the pixels."""

from __future__ import annotations

import logging
from codecs import getincrementaldecoder
from dataclasses import replace

from lungseg import errors, limits
from lungseg.decode.formats import IMAGE_FORMATS, format_names, with_preamble
from lungseg.decode.radiograph import Radiograph

__all__ = ["Radiograph", "decode", "with_preamble"]

# imagecodecs logs unusual chunks and profiles with their content.
logging.getLogger("imagecodecs").disabled = True

REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"
"""What a text decoder writes for a byte that is not UTF-8 (EF BF BD)."""

PIECE_BYTES = 2**20
"""Bytes that are decoded at once."""


def decode(data: bytes, min_side: int | None = None) -> Radiograph:
    """Decode one image: PNG, JPEG, TIFF, BMP, WebP or DICOM.

    Args:
        data: the whole file. Its name and its declared media type are ignored.
        min_side: a JPEG may be decoded at a reduced size whose longer side has at least so many pixels; None for full
            size.

    Returns:
        The image, bone bright, whatever the file's own convention.

    Raises:
        EmptyBody, TooLarge, MangledBody, UnsupportedFormat, UnsupportedDicom, OwnOutput, DamagedImage,
            TooSmall.
    """
    limits.check_bytes(len(data))
    try:
        return replace(_decode(data, min_side), file=data)
    except (errors.UnsupportedFormat, errors.UnsupportedDicom, errors.DamagedImage):
        if _was_text(data):
            text = "The body contains the bytes EF BF BD, which only a text conversion writes."
            raise errors.MangledBody(text) from None
        raise


def _decode(data: bytes, min_side: int | None) -> Radiograph:
    """Detect the format from the first bytes, then decode the image."""
    for each in IMAGE_FORMATS:
        if each.matches(data):
            return each.read(data, min_side)
    raise errors.UnsupportedFormat(f"The content is not {format_names('or')}.")


def _was_text(data: bytes) -> bool:
    """Return whether the image was decoded and encoded as UTF-8: then all of it is valid UTF-8, which no image is."""
    decoder, found = getincrementaldecoder("utf-8")(), False
    try:
        for start in range(0, len(data), PIECE_BYTES):
            text = decoder.decode(data[start : start + PIECE_BYTES], final=start + PIECE_BYTES >= len(data))
            found = found or REPLACEMENT_CHARACTER in text
    except UnicodeDecodeError:
        return False
    return found
