"""Strict JPEG decoding: what libjpeg only warns of is an error.

libjpeg fills missing data with grey, or continues in the wrong place after a gap, and only warns. So do all decoders
built on it, except simplejpeg, which can raise the warning. simplejpeg reads only 8 bits. For other precisions the
check is separate from decoding: `check_jpeg_data` reads the same Huffman codes under an 8-bit header. Its pixels are
wrong, but whether the codes end where they should is the same (ITU-T T.81 sections F.2.2, G.2 and H.2.2).
"""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from lungseg import errors
from lungseg.decode.bounds.jpeg import FRAME_MARKERS, LOSSLESS_MARKERS, METADATA_MARKERS, SCAN_MARKER, iter_segments

SEQUENTIAL_MARKERS = {0xC0, 0xC1}
"""Baseline and extended sequential frames (T.81 table B.1)."""

ADOBE_RGB = b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0\0"
"""An Adobe segment that declares the components untransformed."""

HEADER_WARNINGS = re.compile(r"Unknown Adobe color transform|unknown JFIF revision|Invalid SOS parameters")
"""Warnings about the header only (libjpeg's jerror.h)."""

UNKNOWN_SAMPLING = "subsampling"
"""Part of simplejpeg's message for chroma sampling that TurboJPEG does not know."""

MAX_REDUCTION = 8
"""`check_jpeg_data` decodes at 1/8 of the size, which still reads all of the coded data."""

JPEG_DAMAGED = "The JPEG data is damaged or truncated."


class UnknownSamplingError(Exception):
    """simplejpeg cannot read this chroma sampling; Pillow can."""


def read_grey(stream: bytes, height: int, width: int, reduction: int = 1) -> NDArray[np.uint8]:
    """Decode an 8-bit JPEG to its luminance, (ceil(height / reduction), ceil(width / reduction)).

    Args:
        stream: the whole JPEG.
        height, width: as its header states them, in pixels.
        reduction: 1, 2, 4 or 8.

    Raises:
        DamagedImage: the data is damaged or truncated.
        UnknownSamplingError.
    """
    try:
        return _decode(stream, "GRAY", (height, width), reduction)[..., 0]
    except ValueError as error:
        if UNKNOWN_SAMPLING in str(error):
            raise UnknownSamplingError from None
        if not HEADER_WARNINGS.search(str(error)):
            raise errors.DamagedImage(JPEG_DAMAGED) from None
    # Decoding stops at the first warning: one about the header must not hide one about the data.
    check_jpeg_data(stream)
    return _decode(stream, "GRAY", (height, width), reduction, strict=False)[..., 0]


def check_jpeg_data(stream: bytes) -> None:
    """Raise DamagedImage unless the coded data of a JPEG of any precision, lossy or lossless, is complete.

    Unusual chroma sampling is not checked.

    Raises:
        DamagedImage.
    """
    head, lossless, components, size = _plain_header(stream)
    try:
        if lossless:
            simplejpeg.decode_jpeg(head, "GRAY" if components == 1 else "RGB")
        else:
            _decode(head, "GRAY", size, MAX_REDUCTION)
    except ValueError as error:
        if UNKNOWN_SAMPLING not in str(error):
            raise errors.DamagedImage(JPEG_DAMAGED) from None


def _decode(
    stream: bytes, colours: str, size: tuple[int, int], reduction: int, strict: bool = True
) -> NDArray[np.uint8]:
    smaller = {} if reduction == 1 else {"min_height": -(-size[0] // reduction), "min_width": -(-size[1] // reduction)}
    return np.asarray(simplejpeg.decode_jpeg(stream, colours, strict=strict, **smaller))


def _plain_header(stream: bytes) -> tuple[bytes, bool, int, tuple[int, int]]:
    """Return a JPEG with an 8-bit header that libjpeg does not warn of, and what the frame header says.

    Returns:
        The stream, whether it is lossless, the number of components, and (height, width).

    Raises:
        ValueError: the JPEG has no frame header or no scan.
    """
    kept, frame, components, size = [b"\xff\xd8"], 0, 0, (0, 0)
    for marker, start, end in iter_segments(stream):
        segment = stream[start:end]
        if marker in METADATA_MARKERS:
            continue
        if marker == SCAN_MARKER and frame:
            if frame in SEQUENTIAL_MARKERS:
                segment = segment[:-3] + b"\x00\x3f\x00"  # the only band there is
            return b"".join([*kept, segment, stream[end:]]), frame in LOSSLESS_MARKERS, components, size
        if marker in FRAME_MARKERS and len(segment) > 9:
            frame, components = marker, segment[9]
            size = (int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big"))
            segment = segment[:4] + b"\x08" + segment[5:]
            if frame in LOSSLESS_MARKERS and components > 1:
                kept.append(ADOBE_RGB)
        kept.append(segment)
    raise ValueError("no frame header or no scan")
