"""Write a test pattern in every format and transfer syntax that is read, and check that each decodes here."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ComputedRadiographyImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    generate_uid,
)

from lungseg.decode import decode
from lungseg.decode.formats import IMAGE_FORMATS
from lungseg.decode.radiograph import Pixels
from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES

DICOM_BITS = 12
"""Bits per pixel of DICOM objects, as detectors have them; JPEG baseline allows 8 only."""

MIN_CORRELATION = 0.99
"""Of decoded pixels with the encoded ones; lossy codecs change a little (JPEG 0.997)."""

ENCODERS: dict[UID, Callable[[Pixels], bytes | bytearray]] = {
    JPEGBaseline8Bit: lambda pixels: imagecodecs.jpeg8_encode(pixels, level=97),
    JPEGExtended12Bit: lambda pixels: imagecodecs.jpeg8_encode(pixels, level=97, bitspersample=DICOM_BITS),
    JPEGLossless: lambda pixels: imagecodecs.jpeg8_encode(pixels, bitspersample=DICOM_BITS, lossless=True, predictor=4),
    JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg8_encode(
        pixels, bitspersample=DICOM_BITS, lossless=True, predictor=1
    ),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGLSNearLossless: lambda pixels: imagecodecs.jpegls_encode(pixels, level=3),
    JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", bitspersample=DICOM_BITS),
    JPEG2000: lambda pixels: imagecodecs.jpeg2k_encode(pixels, level=60, codecformat="j2k", bitspersample=DICOM_BITS),
    HTJ2KLossless: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    HTJ2KLosslessRPCL: lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    HTJ2K: lambda pixels: imagecodecs.htj2k_encode(pixels, level=0.001, reversible=False),
}

PICTURE_FORMATS = tuple(each.name.upper() for each in IMAGE_FORMATS if each.is_written_by_pillow)
"""Formats that the self-test writes with Pillow, by its names; DICOM is tested in every transfer syntax."""


@dataclass(frozen=True)
class DecoderCheck:
    """What became of one format or transfer syntax.

    Attributes:
        name: of the format, or "DICOM" and the name of the transfer syntax.
        fault: why it cannot be read; empty if it can.
    """

    name: str
    fault: str = ""


def check_decoders(pixels: NDArray[np.uint8]) -> Iterator[DecoderCheck]:
    """Encode and decode 8-bit ``pixels`` in every format and transfer syntax."""
    for name in PICTURE_FORMATS:
        yield check_decoder(name, functools.partial(picture_file, pixels, name), pixels)
    for syntax in TRANSFER_SYNTAXES:
        yield check_decoder(f"DICOM {syntax.name}", functools.partial(dicom_file, pixels, syntax), pixels)


def check_decoder(name: str, encode: Callable[[], bytes], pixels: NDArray[np.uint8]) -> DecoderCheck:
    """Check that the file that ``encode`` returns decodes to ``pixels``."""
    try:
        decoded = decode(encode()).pixels
        correlation = float(np.corrcoef(decoded.ravel().astype(float), pixels.ravel().astype(float))[0, 1])
    except Exception as error:  # codecs raise anything
        return DecoderCheck(name, f"cannot be read ({type(error).__name__})")
    if correlation < MIN_CORRELATION:
        return DecoderCheck(name, "reads as another picture than was written")
    return DecoderCheck(name)


def picture_file(pixels: NDArray[np.uint8], file_format: str) -> bytes:
    """Return 8-bit pixels as a file of one of PICTURE_FORMATS."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format)
    return buffer.getvalue()


def dicom_file(pixels: NDArray[np.uint8], syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return 8-bit pixels as a CR object of one transfer syntax, scaled to DICOM_BITS where the codec allows."""
    bits = 8 if syntax == JPEGBaseline8Bit else DICOM_BITS
    stored: Pixels = pixels if bits == 8 else pixels.astype(np.uint16) << np.uint16(DICOM_BITS - 8)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 8 * stored.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = 0
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](stored))])
    else:
        order: Literal["<", ">"] = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(order)).tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
