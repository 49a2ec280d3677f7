"""DICOM films (CR, DX and secondary captures), through pydicom.

Stored values become display values as PS3.3 C.11 and PS3.4 N.2 lay it out: modality LUT or rescale, then VOI LUT or
window, then MONOCHROME1 turned round. All of it is worked out once on the values that occur (at most 65,536), then
looked up for each pixel.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder
from pydicom.uid import UID

from app import errors, limits
from app.decode.radiograph import Radiograph

# pydicom reports odd values by quoting them; a log must not hold what stands in a patient's file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.logger.disabled = True
warnings.filterwarnings("ignore", module=r"pydicom\b")

DEFLATED = b"1.2.840.10008.1.2.1.99"


def decode(data: bytes) -> Radiograph:
    """Decode a single-frame grey DICOM film to uint16, bone bright, the window applied.

    Raises:
        UnsupportedDicom: no pixels, colour, several frames, or a transfer syntax without a decoder here.
        DamagedFilm, TooSmall, TooLarge.
    """
    # A deflated data set is inflated whole before its first element can be read, so nothing could bound it.
    if DEFLATED in data[132:4096]:
        raise errors.UnsupportedDicom("The data set is deflated.")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        _check(dataset)
        stored = _stored_values(dataset)
        return Radiograph(_display_values(stored, dataset))
    except errors.FilmError:
        raise
    # A damaged data set fails anywhere inside pydicom or a codec, as any type of exception, with texts that may
    # quote its elements.
    except Exception:
        raise errors.DamagedFilm("The DICOM data is broken or ends too early.") from None


def _check(dataset: pydicom.Dataset) -> None:
    """Refuse on the header what must not, or cannot, be decoded."""
    if "PixelData" not in dataset:
        raise errors.UnsupportedDicom("The object holds no picture.")
    limits.check_sides(int(dataset.Rows), int(dataset.Columns))
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise errors.UnsupportedDicom("The object holds several frames.")
    if dataset.PhotometricInterpretation not in ("MONOCHROME1", "MONOCHROME2") or dataset.SamplesPerPixel != 1:
        raise errors.UnsupportedDicom("The picture is not grey (MONOCHROME1 or MONOCHROME2).")
    if dataset.BitsAllocated not in (8, 16):
        raise errors.UnsupportedDicom("The picture has neither 8 nor 16 bits allocated to a pixel.")
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    if not syntax.is_transfer_syntax:
        raise errors.UnsupportedDicom("The transfer syntax is not one of the standard's.")
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise errors.UnsupportedDicom(f"No decoder is installed for the transfer syntax {syntax.name}.")


def _stored_values(dataset: pydicom.Dataset) -> NDArray[np.integer]:
    """Stored values (height, width), as integers of the allocated width.

    Bits outside the stored ones may hold old overlay planes: shifting them out at the top and back extends the sign
    as well.
    """
    pixels = dataset.pixel_array
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise errors.DamagedFilm("The picture does not have the size that its header states.")
    spare = pixels.dtype.itemsize * 8 - int(dataset.BitsStored)
    return (pixels << spare) >> spare if spare else pixels


def _display_values(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.uint16]:
    """Display values (height, width), the darkest pixel 0 and the brightest 65535."""
    padding = _padding(stored, dataset)
    film = stored if padding is None else stored[~padding]
    if not film.size:
        raise errors.BlankFilm("Every pixel is marked as padding.")
    low, high = int(film.min()), int(film.max())

    values = apply_modality_lut(np.arange(low, high + 1), dataset)
    display = _window(values, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        display = -display
    display -= display.min()
    display *= 65535 / (display.max() or 1)

    table = np.rint(display).astype(np.uint16)
    pixels = table[np.clip(stored, low, high).astype(np.int32) - low]
    if padding is not None:
        pixels[padding] = 0  # outside the exposed field: dark, as air is
    return pixels


def _window(values: NDArray[np.generic], dataset: pydicom.Dataset) -> NDArray[np.float64]:
    """``values`` through the VOI LUT or window; as they are without one, or if it would leave a single grey."""
    plain = np.asarray(values, np.float64)
    try:
        windowed = np.asarray(apply_voi_lut(values, dataset), np.float64)
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, NotImplementedError):
        return plain  # a window that is no window (width 0, no centre) says nothing about the pixels
    return windowed if np.ptp(windowed) > 0 else plain


def _padding(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.bool_] | None:
    """True where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, marks no film (PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)
