"""Real images for the tests, and functions that write them in other formats."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Public images beside the checkout; tests that need them are skipped without."""

RAMP16 = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
RAMP8 = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
"""Every 8-bit grey once, dark to bright."""

STRIPES8 = np.repeat(np.where(np.arange(256) // 4 % 2, np.uint8(220), np.uint8(20))[:, None], 256, axis=1)
"""An image in which no lung is found."""


def packaged(name: str) -> Path:
    """Return the path of a pydicom-data file.

    RG1 is a real chest X-ray (CR, MONOCHROME1, 1955 x 1841, 15 bits) in four encodings.
    """
    path = get_testdata_file(name, download=False)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; run: pip install -r lungseg/requirements.txt")
    return Path(str(path))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def order(pixels: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Return the correlation of two images' greys: 1 if one is a linear map of the other, -1 if it is the negative."""
    return float(np.corrcoef(pixels.ravel().astype(float), reference.ravel().astype(float))[0, 1])


def read_mask(png: bytes) -> NDArray[np.bool_]:
    """Return a mask PNG as bool, (height, width)."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.mode == "1"
        return np.asarray(image)


def png(pixels: NDArray[np.generic]) -> bytes:
    """Return pixels as a PNG of the same bit depth."""
    return encode(Image.fromarray(pixels), "PNG")


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    """Return an image as a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[np.generic], pages: int = 1, **options: object) -> bytes:
    """Return a TIFF; further pages are black."""
    buffer = io.BytesIO()
    options.setdefault("photometric", "minisblack")
    with tifffile.TiffWriter(
        buffer, byteorder=options.pop("byteorder", "<"), bigtiff=options.pop("bigtiff", False)
    ) as writer:
        for page in range(pages):
            writer.write(pixels if page == 0 else np.zeros_like(pixels), **options)
    return buffer.getvalue()


def dicom(pixels: NDArray[np.generic], **elements: object) -> bytes:
    """Return pixels as an uncompressed CR object, MONOCHROME2 unless ``elements`` say otherwise."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = generate_uid()
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        if name == "TransferSyntaxUID":
            dataset.file_meta.TransferSyntaxUID = value
        elif value is None and name == "PixelRepresentation":
            del dataset.PixelRepresentation
        else:
            setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
