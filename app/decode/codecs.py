"""Pictures compressed inside DICOM: the JPEG family, through imagecodecs.

libjpeg-turbo, CharLS and OpenJPEG do the work; each is fuzzed by its own project, which codecs of a DICOM library's own
are not.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
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

from app.decode.jpeg_header import jpeg_size

JPEG = {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}
JPEG_LS = {JPEGLSLossless, JPEGLSNearLossless}
JPEG_2000 = {JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}

PACKAGE = "imagecodecs"

CODESTREAM, COMPONENTS = b"\xff\x4f\xff\x51", 40
"""How a JPEG 2000 codestream starts (T.800 annex A.5.1), and where in it the number of components stands."""


def reads(syntax: UID) -> bool:
    """Whether there is a decoder here for pictures of a transfer syntax."""
    return syntax in JPEG | JPEG_LS | JPEG_2000 and importlib.util.find_spec(PACKAGE) is not None


def size(frame: bytes, syntax: UID, samples: int) -> tuple[int, int]:
    """Height and width that the compressed picture itself states, which is what a codec allocates.

    Args:
        samples: samples of a pixel, as the data set states them.

    Raises:
        ValueError, OSError: it has no header that can be read, or a JPEG 2000 one of other samples.
    """
    if syntax in JPEG_2000:
        start = frame.index(CODESTREAM) + COMPONENTS
        if int.from_bytes(frame[start : start + 2], "big") != samples:
            raise ValueError("other components than samples")
        with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as header:
            return header.height, header.width
    return jpeg_size(frame)


def decompress(frame: bytes, syntax: UID) -> NDArray[np.integer]:
    """The picture, (height, width) or (height, width, samples), right-justified; colour as RGB.

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
