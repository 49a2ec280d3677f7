"""Pictures compressed inside DICOM: the JPEG family, through imagecodecs.

libjpeg-turbo, CharLS and OpenJPEG do the work; each is fuzzed by its own project, which codecs of a DICOM library's own
are not.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
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
)

from app.decode import jpeg2000_header
from app.decode.jpeg_header import jpeg_size

JPEG = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}
JPEG_LS = {JPEGLSLossless, JPEGLSNearLossless}
JPEG_2000 = {JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}
AS_STORED = {JPEGLossless, JPEGLosslessSV1} | JPEG_LS | JPEG_2000
"""Whose codecs leave YBR_FULL as it is; a baseline JPEG becomes RGB, and so do YBR_ICT and YBR_RCT (PS3.5, 8.2)."""

PACKAGE = "imagecodecs"


def reads(syntax: UID) -> bool:
    """Whether there is a decoder here for pictures of a transfer syntax."""
    return syntax in JPEG | JPEG_LS | JPEG_2000 and importlib.util.find_spec(PACKAGE) is not None


def size(frame: bytes, syntax: UID, samples: int) -> tuple[int, int]:
    """Height and width that the compressed picture itself states, which is what a codec allocates.

    Args:
        samples: samples of a pixel, as the data set states them.

    Raises:
        ValueError, struct.error: it has no header that can be read, or a JPEG 2000 one that no film has.
    """
    return jpeg2000_header.check(frame, samples) if syntax in JPEG_2000 else jpeg_size(frame)


def unpack_rle(frame: bytes, height: int, width: int, samples: int, bits: int) -> NDArray[np.integer]:
    """An RLE frame (PS3.5 annex G), (height, width) or (height, width, samples), unsigned; never more than that of it.

    Raises:
        Exception: it is broken, or unpacks to another size; of any type.
    """
    import imagecodecs

    dtype = np.dtype(f"<u{bits // 8}")
    count = height * width * samples
    # Told how much there may be, it stops there: two bytes can stand for 128.
    planes = np.frombuffer(imagecodecs.dicomrle_decode(frame, dtype, out=count * dtype.itemsize), dtype, count)
    return planes.reshape(height, width) if samples == 1 else np.moveaxis(planes.reshape(samples, height, width), 0, -1)


def decompress(frame: bytes, syntax: UID) -> NDArray[np.integer]:
    """The picture, (height, width) or (height, width, samples), right-justified; colour as RGB, but for AS_STORED.

    Raises:
        Exception: it is broken; of any type.
    """
    import imagecodecs

    codec: Callable[[bytes], NDArray[np.integer]] = imagecodecs.jpeg8_decode
    if syntax in JPEG_LS:
        codec = imagecodecs.jpegls_decode
    elif syntax in JPEG_2000:
        codec = imagecodecs.jpeg2k_decode
    return codec(frame)
