"""Pixel data compressed inside DICOM: RLE and the JPEG family, through imagecodecs.

imagecodecs uses libjpeg-turbo, CharLS and OpenJPEG. Each is fuzzed by its own project, unlike the built-in codecs of
DICOM libraries.
"""

from __future__ import annotations

import contextlib
import importlib.util
import struct

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from lungseg.decode import jpeg
from lungseg.decode.bounds import jpeg2000
from lungseg.decode.bounds.jpeg import has_colour_marker, jpeg_size
from lungseg.decode.transfer_syntaxes import JPEG_2000, JPEG_FAMILY, JPEG_LS

CODEC_PACKAGE = "imagecodecs"

MAX_RLE_PADDING = 3
"""Bytes after a PackBits segment that pad it to an even length, or to a multiple of 4."""


def has_decoder(syntax: UID) -> bool:
    """Return whether the pixel data of a transfer syntax can be decompressed in this installation."""
    return syntax in JPEG_FAMILY and importlib.util.find_spec(CODEC_PACKAGE) is not None


def coded_size(frame: bytes, syntax: UID, samples: int) -> tuple[int, int]:
    """Return the height and width that the compressed stream states, which is what a codec allocates.

    Args:
        samples: samples per pixel, as the data set states them.

    Raises:
        ValueError, struct.error: the stream has no readable header, or a JPEG 2000 header beyond the limits.
    """
    return jpeg2000.check_codestream(frame, samples) if syntax in JPEG_2000 else jpeg_size(frame)


def unpack_rle(frame: bytes, height: int, width: int, samples: int, bits: int) -> NDArray[np.integer]:
    """Decompress an RLE frame (PS3.5 annex G) to (height, width) or (height, width, samples), unsigned.

    Raises:
        Exception: the frame is broken, or has another size; of any type.
    """
    import imagecodecs

    dtype = np.dtype(f"<u{bits // 8}")
    count = height * width * samples
    # An output buffer of fixed size bounds the work: 2 bytes can expand to 128.
    try:
        unpacked = imagecodecs.dicomrle_decode(frame, dtype, out=count * dtype.itemsize)
    except imagecodecs.DicomrleError:
        unpacked = _padded_rle(frame, count // samples, samples * dtype.itemsize)
    planes = np.frombuffer(unpacked, dtype, count)
    return planes.reshape(height, width) if samples == 1 else np.moveaxis(planes.reshape(samples, height, width), 0, -1)


def _padded_rle(frame: bytes, pixels: int, count: int) -> bytes:
    """Decompress a frame whose segments are padded with non-zero bytes, which the codec rejects.

    Raises:
        ValueError: a segment is broken.
        struct.error: the frame has no header.
    """
    stated, *offsets = struct.unpack_from("<16I", frame)
    if stated != count:
        raise ValueError("another number of segments")
    ends = [*offsets[1:count], len(frame)]
    segments = [unpack_packbits(frame[start:end], pixels) for start, end in zip(offsets[:count], ends, strict=True)]
    planes = np.frombuffer(b"".join(segments), np.uint8).reshape(count, pixels)
    # The most significant byte of a sample comes first (PS3.5 section G.2).
    width = count if count in (1, 2) else count // 3
    return b"".join(planes[first : first + width][::-1].T.tobytes() for first in range(0, count, width))


def unpack_packbits(segment: bytes, count: int) -> bytes:
    """Unpack a PackBits segment to ``count`` bytes; up to MAX_RLE_PADDING bytes after it are ignored.

    Raises:
        ValueError: the segment has another length.
    """
    import imagecodecs

    for padding in range(MAX_RLE_PADDING + 1):
        with contextlib.suppress(imagecodecs.PackbitsError):
            found = imagecodecs.packbits_decode(segment[: len(segment) - padding], out=count)
            if len(found) == count:
                return bytes(found)
    raise ValueError("a segment of another length")


def decompress_frame(frame: bytes, syntax: UID, stored_as_rgb: bool = False) -> NDArray[np.integer]:
    """Decompress to (height, width) or (height, width, samples), right-justified; colour is RGB, except for KEEPS_YBR.

    Args:
        frame: the compressed stream.
        syntax: its transfer syntax.
        stored_as_rgb: whether the data set says RGB. A baseline JPEG without a colour marker is then not taken for
            YCbCr.

    Raises:
        DamagedImage: the stream is damaged or truncated.
        Exception: it is broken; of any type.
    """
    import imagecodecs

    if syntax in JPEG_LS:
        return imagecodecs.jpegls_decode(frame)  # CharLS detects damage itself
    if syntax in JPEG_2000:
        return imagecodecs.jpeg2k_decode(frame)
    jpeg.check_jpeg_data(frame)
    if stored_as_rgb and not has_colour_marker(frame):
        return imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg8_decode(frame)
