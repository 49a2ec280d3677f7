"""DICOM films (CR, DX and secondary captures), through pydicom.

Stored values become display values as PS3.3 C.11 and PS3.4 N.2 lay it out: modality LUT or rescale, then VOI LUT or
window, then MONOCHROME1 turned round. All of it is worked out once on the values that occur (at most 65,536), then
looked up for each pixel. A modality LUT or window that makes no sense on this film is left out rather than obeyed.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame
from pydicom.filereader import data_element_generator
from pydicom.pixels import apply_modality_lut, apply_voi_lut, get_decoder, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGExtended12Bit, RLELossless

from app import errors, limits
from app.decode.radiograph import Radiograph

# pydicom reports odd values by quoting them; a log must not hold what stands in a patient's file.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.logger.disabled = True
warnings.filterwarnings("ignore", module=r"pydicom\b")

META = 132
"""Where the file meta information starts: behind the preamble and "DICM" (PS3.10 section 7.1)."""

FLAT_SHARE = 0.9
"""A window that gives so much of the film one grey was made for another picture."""


def decode(data: bytes) -> Radiograph:
    """Decode a single-frame grey DICOM film to uint16, bone bright, the window applied.

    Raises:
        UnsupportedDicom: no pixels, colour, several frames, or a transfer syntax without a decoder here.
        DamagedFilm, TooSmall, TooLarge, BlankFilm.
    """
    try:
        syntax = _transfer_syntax(data)
        dataset = pydicom.dcmread(io.BytesIO(data))
        _check(dataset, syntax)
        return Radiograph(_display_values(dataset, syntax))
    except errors.FilmError:
        raise
    # A damaged data set fails anywhere inside pydicom or a codec, as any type of exception, with texts that may
    # quote its elements.
    except Exception:
        raise errors.DamagedFilm("The DICOM data is broken or ends too early.") from None


def _transfer_syntax(data: bytes) -> UID:
    """The transfer syntax, from the file meta information alone.

    A deflated data set is refused here: it is inflated whole before its first element can be read, so nothing behind
    this point could bound it.
    """
    meta = io.BytesIO(data)
    meta.seek(META)
    for element in data_element_generator(meta, False, True, stop_when=lambda tag, *_: tag >> 16 != 2):
        if element.tag == 0x00020010 and isinstance(element.value, bytes):
            syntax = UID(element.value.decode("ascii").strip("\0 "))
            if syntax == DeflatedExplicitVRLittleEndian:
                raise errors.UnsupportedDicom("The data set is deflated.")
            if not syntax.is_transfer_syntax:
                raise errors.UnsupportedDicom("The transfer syntax is not one of the standard's.")
            return syntax
    raise errors.UnsupportedDicom("The file names no transfer syntax.")


def _check(dataset: pydicom.Dataset, syntax: UID) -> None:
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
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    # Pillow says that it decodes JPEG Extended, and does so up to 8 bits.
    if not available or (syntax == JPEGExtended12Bit and dataset.BitsStored > 8):
        raise errors.UnsupportedDicom(f"No decoder is installed for this picture's transfer syntax, {syntax.name}.")
    if syntax.is_encapsulated and syntax != RLELossless:
        # The picture inside has a header of its own, and that is the size a codec allocates.
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as header:
            if header.size != (dataset.Columns, dataset.Rows):
                raise errors.DamagedFilm("The picture does not have the size that its header states.")


def _display_values(dataset: pydicom.Dataset, syntax: UID) -> NDArray[np.uint16]:
    """Display values (height, width), the darkest pixel 0 and the brightest 65535."""
    if dataset.get("PixelRepresentation") is None:
        dataset.PixelRepresentation = 0
    # Unused bits as they are: pydicom takes the lower ones as the stored ones, wherever HighBit puts them.
    raw = pixel_array(dataset, correct_unused_bits=False)
    if raw.shape != (dataset.Rows, dataset.Columns):
        raise errors.DamagedFilm("The picture does not have the size that its header states.")
    stored = _stored_values(raw, dataset, syntax)
    padding = _padding(raw, stored, dataset, syntax)
    film = stored if padding is None else stored[~padding]
    if not film.size:
        raise errors.BlankFilm("Every pixel is marked as padding.")
    low, high = int(film.min()), int(film.max())
    counts = np.bincount((film.astype(np.int32) - low).ravel(), minlength=high - low + 1)

    display = _window(_modality(np.arange(low, high + 1), dataset), counts, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        display = -display
    display -= display.min()
    display *= 65535 / (display.max() or 1)

    table = np.rint(display).astype(np.uint16)
    pixels = table[np.clip(stored, low, high).astype(np.int32) - low]
    if padding is not None:
        pixels[padding] = 0  # outside the exposed field: dark, as air is
    return pixels


def _stored_values(raw: NDArray[np.integer], dataset: pydicom.Dataset, syntax: UID) -> NDArray[np.integer]:
    """The stored bits of each pixel, as signed or unsigned integers of the allocated width.

    Native pixels may be left-justified (HighBit above BitsStored - 1), and bits outside the stored ones may hold old
    overlay planes: shifting up drops what is above, shifting back what is below, and extends the sign. Codecs give
    their values right-justified.
    """
    allocated, bits = raw.dtype.itemsize * 8, int(dataset.BitsStored)
    native = not syntax.is_encapsulated or syntax == RLELossless
    high_bit = int(dataset.get("HighBit") or bits - 1) if native else bits - 1
    if not bits - 1 <= high_bit < allocated:
        raise errors.DamagedFilm("The header's BitsStored, HighBit and BitsAllocated contradict each other.")
    return (raw << (allocated - 1 - high_bit)) >> (allocated - bits)


def _padding(
    raw: NDArray[np.integer], stored: NDArray[np.integer], dataset: pydicom.Dataset, syntax: UID
) -> NDArray[np.bool_] | None:
    """True where PixelPaddingValue, or the range up to PixelPaddingRangeLimit, marks no film (PS3.3 C.7.5.1.1.2).

    Files write the value with the other sign, or outside the stored bits; so it is compared as the bit pattern that
    stands in a pixel, and as the value that the pattern means.
    """
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    pattern = np.array([value, value if limit is None else limit]).astype(raw.dtype)  # wraps to the pixels' sign
    low, high = np.sort(pattern)
    padding = (raw >= low) & (raw <= high)
    meaning = _stored_values(pattern, dataset, syntax)
    if (meaning == pattern).all():
        padding |= (stored >= low) & (stored <= high)
    return padding


def _modality(values: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.generic]:
    """``values`` through the modality LUT or rescale; as they are if that is empty, infinite, or a single grey."""
    try:
        with np.errstate(all="ignore"):
            rescaled = np.asarray(apply_modality_lut(values, dataset))
            return rescaled if np.isfinite(rescaled).all() and np.ptp(rescaled) > 0 else values
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, NotImplementedError, OverflowError):
        return values


def _window(values: NDArray[np.generic], counts: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.float64]:
    """``values`` through the VOI LUT or window; as they are without one, or if it would flatten the film.

    Args:
        values: what a pixel can be.
        counts: how many pixels are.
    """
    plain = np.asarray(values, np.float64)
    try:
        with np.errstate(all="ignore"):
            windowed = np.asarray(apply_voi_lut(values, dataset), np.float64)
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, NotImplementedError, OverflowError):
        return plain  # a window that is no window (width 0, no centre) says nothing about the pixels
    _, grey = np.unique(windowed, return_inverse=True)
    flat = np.bincount(grey, weights=counts).max() / counts.sum()
    return windowed if np.isfinite(windowed).all() and flat < FLAT_SHARE else plain
