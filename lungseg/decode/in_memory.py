"""Images that are decoded already: NumPy arrays, Pillow's images and pydicom's data sets, for the Python API.

Limits are those of files. Each gives the same radiograph as a file with the same content.
"""

from __future__ import annotations

import copy
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors, limits
from lungseg.decode.damage import damage_reported
from lungseg.decode.greyscale import luminance, upright
from lungseg.decode.radiograph import Pixels, Radiograph
from lungseg.decode.raster import EXIF_ORIENTATION

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

GREY_MODES = ("L", "I", "F")
"""Pillow's modes of one grey sample; I;16 and its variants start with I."""

ARRAY_RULE = "Pass (height, width) uint8, uint16 or float, or (height, width, 3) uint8 or uint16, bone bright."


def read_array(array: NDArray[Any]) -> Radiograph:
    """Return the radiograph of an array; later changes of the array do not affect it.

    Args:
        array: (height, width) uint8, uint16 or floating point, or (height, width, 3) uint8 or uint16 in RGB order, bone
            bright. Floats are linear greys of any range; they are scaled to 16 bits, the smallest to 0 and the largest
            to 65535.

    Raises:
        TypeError: another dtype.
        ValueError: another shape, NaN or infinity.
        TooSmall, TooLarge.
    """
    kind, depth = array.dtype.kind, array.dtype.itemsize
    is_colour = array.ndim == 3 and array.shape[2] == 3
    if not (kind == "u" and depth <= 2) and kind != "f":
        raise TypeError(f"an array of {array.dtype} is not an image. {ARRAY_RULE}")
    if not (array.ndim == 2 or (is_colour and kind == "u")):
        raise ValueError(f"an array of {array.dtype} with shape {array.shape} is not an image. {ARRAY_RULE}")
    limits.check_size(array.shape[0], array.shape[1], max(1, array.nbytes))
    if kind == "f":
        return Radiograph(_scaled(array))
    # In native byte order, and a copy.
    pixels = np.array(array, dtype=f"u{depth}", order="C")
    if not is_colour:
        return Radiograph(pixels)
    # As a PNG's colour is decoded, so that both give the same mask.
    return Radiograph(Image.fromarray(pixels).convert("L") if depth == 1 else luminance(pixels))


def read_picture(image: Image.Image) -> Radiograph:
    """Return the radiograph of a Pillow image of any mode. An EXIF orientation is applied; alpha is dropped.

    Raises:
        UnsupportedFormat: an animation, or several pages.
        ValueError: mode I with values outside 0 to 65535, or mode F with NaN or infinity.
        DamagedImage: a file that Pillow reads only now is broken.
        TooSmall, TooLarge.
    """
    # The file is loaded only after this check. Its bytes are unknown here, so one per pixel is assumed.
    limits.check_size(image.height, image.width, image.height * image.width)
    if getattr(image, "is_animated", False):
        raise errors.UnsupportedFormat("The image is an animation or has several pages.")
    with damage_reported("image"):
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        is_grey = image.mode in GREY_MODES or image.mode.startswith("I;16")
        pixels = np.asarray(image if is_grey else image.convert("L"))
    if image.mode == "I" and (pixels.min() < 0 or pixels.max() > 65535):
        raise ValueError("an image of mode I must have values from 0 to 65535; convert it to mode I;16 or L")
    radiograph = read_array(pixels.astype(np.uint16) if image.mode == "I" else pixels)
    if orientation in range(2, 9):
        return Radiograph(upright(radiograph.pixels, orientation))
    return radiograph


def read_dataset(dataset: Dataset) -> Radiograph:
    """Return the radiograph of a pydicom data set, which stays unchanged.

    The transfer syntax is that of its file_meta. Without one, the pixel data is uncompressed and little endian.

    Raises:
        UnsupportedDicom, DamagedImage, TooSmall, TooLarge, BlankImage: as for a DICOM file.
    """
    from lungseg.decode.dicom import decode_dataset

    with damage_reported("DICOM"):
        decoded, written = _copied(dataset), _copied(dataset)
        radiograph = decode_dataset(decoded, len(dataset.get("PixelData") or b""))
    return replace(radiograph, file=lambda: _write_dataset(written))


def _scaled(array: NDArray[Any]) -> Pixels:
    """Return floats as 16-bit greys."""
    if not np.isfinite(array).all():
        raise ValueError("the array contains NaN or infinity; replace them, for instance with np.nan_to_num")
    low, high = float(array.min()), float(array.max())
    # Divided first: the difference of two large floats may be infinite.
    span = (high / 65535 - low / 65535) or 1.0
    greys: Pixels = np.rint((array.astype(np.float64) / span) - low / span).astype(np.uint16)
    return greys


def _copied(dataset: Dataset) -> Dataset:
    """Return a data set with copies of the elements, but not of their values, and with a transfer syntax."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    import lungseg.decode.dataset  # noqa: F401 -- sets how pydicom treats unusual values

    copied = Dataset()
    for element in dataset:
        copied.add(copy.copy(element))
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    syntax = meta.get("TransferSyntaxUID") or ExplicitVRLittleEndian
    if syntax == DeflatedExplicitVRLittleEndian:
        syntax = ExplicitVRLittleEndian  # it was inflated when it was read
    if not syntax.is_transfer_syntax:
        raise errors.UnsupportedDicom("The transfer syntax is not defined by the DICOM standard.")
    copied.file_meta = FileMetaDataset()
    copied.file_meta.TransferSyntaxUID = syntax
    return copied


def _write_dataset(dataset: Dataset) -> bytes:
    """Return a data set as a file: a DICOM Segmentation copies patient and study from it."""
    buffer = io.BytesIO()
    with damage_reported("DICOM"):
        dataset.save_as(buffer, enforce_file_format=False)
    return bytes(128) + b"DICM" + buffer.getvalue()
