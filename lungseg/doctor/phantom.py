"""The self-check's drawing as an image in every transfer syntax: real input for every decoder, and nobody's image."""

from __future__ import annotations

import io
from collections.abc import Callable
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

from lungseg.decode.formats import IMAGE_FORMATS
from lungseg.model.selfcheck import drawing

BITS = 12
"""Of a DICOM image's pixels, as detectors have them; JPEG baseline knows 8."""

PhantomPixels = NDArray[np.uint8] | NDArray[np.uint16]

ENCODERS: dict[UID, Callable[[PhantomPixels], bytes | bytearray]] = {
    JPEGBaseline8Bit: lambda image: imagecodecs.jpeg8_encode(image, level=97),
    JPEGExtended12Bit: lambda image: imagecodecs.jpeg8_encode(image, level=97, bitspersample=BITS),
    JPEGLossless: lambda image: imagecodecs.jpeg8_encode(image, bitspersample=BITS, lossless=True, predictor=4),
    JPEGLosslessSV1: lambda image: imagecodecs.jpeg8_encode(image, bitspersample=BITS, lossless=True, predictor=1),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGLSNearLossless: lambda image: imagecodecs.jpegls_encode(image, level=3),
    JPEG2000Lossless: lambda image: imagecodecs.jpeg2k_encode(image, codecformat="j2k", bitspersample=BITS),
    JPEG2000: lambda image: imagecodecs.jpeg2k_encode(image, level=60, codecformat="j2k", bitspersample=BITS),
    HTJ2KLossless: lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    HTJ2KLosslessRPCL: lambda image: imagecodecs.htj2k_encode(image, reversible=True),
    HTJ2K: lambda image: imagecodecs.htj2k_encode(image, level=0.001, reversible=False),
}

PICTURES = tuple(each.name.upper() for each in IMAGE_FORMATS if each.name != "DICOM")
"""Formats that are read besides DICOM, by Pillow's names."""


def phantom_picture(file_format: str) -> bytes:
    """The drawing as a picture file, 8 bits."""
    buffer = io.BytesIO()
    Image.fromarray(drawing()).save(buffer, file_format)
    return buffer.getvalue()


def phantom_dicom(syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The drawing as a CR object of one transfer syntax."""
    bits = 8 if syntax == JPEGBaseline8Bit else BITS
    image: PhantomPixels = drawing() if bits == 8 else drawing().astype(np.uint16) << np.uint16(BITS - 8)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated = 8 * image.itemsize
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = 0
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](image))])
    else:
        order: Literal["<", ">"] = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.PixelData = image.astype(image.dtype.newbyteorder(order)).tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
