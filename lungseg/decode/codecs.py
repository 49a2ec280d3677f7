"""Pictures compressed inside DICOM: the JPEG family, through imagecodecs.

libjpeg-turbo, CharLS and OpenJPEG do the work; each is fuzzed by its own project, which codecs of a DICOM library's own
are not.
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
"""Bytes behind a PackBits segment: up to an even number, or a multiple of four."""


def has_decoder(syntax: UID) -> bool:
    """Whether there is a decoder here for pictures of a transfer syntax."""
    return syntax in JPEG_FAMILY and importlib.util.find_spec(CODEC_PACKAGE) is not None


def coded_size(frame: bytes, syntax: UID, samples: int) -> tuple[int, int]:
    """Height and width that the compressed picture itself states, which is what a codec allocates.

    Args:
        samples: samples of a pixel, as the data set states them.

    Raises:
        ValueError, struct.error: it has no header that can be read, or a JPEG 2000 one that no image has.
    """
    return jpeg2000.check_codestream(frame, samples) if syntax in JPEG_2000 else jpeg_size(frame)


def unpack_rle(frame: bytes, height: int, width: int, samples: int, bits: int) -> NDArray[np.integer]:
    """An RLE frame (PS3.5 annex G), (height, width) or (height, width, samples), unsigned; never more than that of it.

    Raises:
        Exception: it is broken, or unpacks to another size; of any type.
    """
    import imagecodecs

    dtype = np.dtype(f"<u{bits // 8}")
    count = height * width * samples
    # Told how much there may be, it stops there: two bytes can stand for 128.
    try:
        unpacked = imagecodecs.dicomrle_decode(frame, dtype, out=count * dtype.itemsize)
    except imagecodecs.DicomrleError:
        unpacked = _padded_rle(frame, count // samples, samples * dtype.itemsize)
    planes = np.frombuffer(unpacked, dtype, count)
    return planes.reshape(height, width) if samples == 1 else np.moveaxis(planes.reshape(samples, height, width), 0, -1)


def _padded_rle(frame: bytes, pixels: int, count: int) -> bytes:
    """The same of a frame whose segments are padded by bytes that are no zeros, which the codec takes for damage.

    Raises:
        ValueError: a segment is broken.
        struct.error: there is no header.
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
    """Unpack a PackBits segment of ``count`` bytes, behind which up to MAX_RLE_PADDING bytes stand.

    Raises:
        ValueError: it holds another number of bytes.
    """
    import imagecodecs

    for padding in range(MAX_RLE_PADDING + 1):
        with contextlib.suppress(imagecodecs.PackbitsError):
            found = imagecodecs.packbits_decode(segment[: len(segment) - padding], out=count)
            if len(found) == count:
                return bytes(found)
    raise ValueError("a segment of another length")


def decompress_frame(frame: bytes, syntax: UID, stored_as_rgb: bool = False) -> NDArray[np.integer]:
    """The picture, (height, width) or (height, width, samples), right-justified; colour as RGB, but for KEEPS_YBR.

    Args:
        frame: the compressed picture.
        syntax: its transfer syntax.
        stored_as_rgb: whether the data set calls it RGB. A baseline JPEG that does not say what its colours are is then
            not taken for YCbCr.

    Raises:
        DamagedImage: its data is damaged, or ends too early.
        Exception: it is broken; of any type.
    """
    import imagecodecs

    if syntax in JPEG_LS:
        return imagecodecs.jpegls_decode(frame)  # CharLS finds damage itself
    if syntax in JPEG_2000:
        return imagecodecs.jpeg2k_decode(frame)
    jpeg.check_jpeg_data(frame)
    if stored_as_rgb and not has_colour_marker(frame):
        return imagecodecs.jpeg8_decode(frame, colorspace="RGB", outcolorspace="RGB")
    return imagecodecs.jpeg8_decode(frame)
