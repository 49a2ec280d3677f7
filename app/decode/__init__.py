"""Bytes to radiograph: the format is told by content, the limits are checked on the header, then pixels are read."""

from __future__ import annotations

from app import errors, limits
from app.decode import raster
from app.decode.radiograph import Radiograph

__all__ = ["Radiograph", "decode"]

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
DICOM = b"DICM"
"""PS3.10 section 7.1: these four bytes follow a preamble of 128."""

UTF8_REPLACEMENT = b"\xef\xbf\xbd"
"""U+FFFD: what is left of a byte that was not UTF-8 when something read the film as text."""


def decode(data: bytes) -> Radiograph:
    """Decode one film: PNG (8 or 16 bit), JPEG, or DICOM (MONOCHROME1 or MONOCHROME2).

    Args:
        data: the whole file. File names and declared types play no part.

    Returns:
        The film, white where the detector saw least (bone), whatever the file's own convention.

    Raises:
        EmptyBody, TooLarge, MangledBody, UnsupportedFormat, UnsupportedDicom, DamagedFilm, TooSmall.
    """
    limits.check_bytes(len(data))
    if data.startswith(PNG):
        return raster.decode(data, "PNG")
    if data.startswith(JPEG):
        return raster.decode(data, "JPEG")
    if data[128:132] == DICOM:
        from app.decode import dicom  # pydicom is slow to import, and most films are PNG or JPEG

        return dicom.decode(data)
    if UTF8_REPLACEMENT in data[:16]:
        raise errors.MangledBody("The body starts with bytes that only a text conversion writes (EF BF BD).")
    raise errors.UnsupportedFormat("The content is neither PNG, JPEG nor DICOM.")
