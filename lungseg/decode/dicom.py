"""DICOM images (CR, DX and secondary captures): pydicom reads the data set, `codecs` decompresses the pixel data."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, parse_basic_offsets
from pydicom.pixels import apply_color_lut, convert_color_space, pixel_array
from pydicom.uid import UID, RLELossless

from lungseg import errors, limits
from lungseg.decode import codecs
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.decode.dataset import MAX_DICOM_OVERHEAD, read_dicom
from lungseg.decode.display import display_values
from lungseg.decode.greyscale import luminance
from lungseg.decode.radiograph import Pixels, Radiograph, Spacing
from lungseg.decode.transfer_syntaxes import KEEPS_YBR

REQUIRED_ELEMENTS = ("Rows", "Columns", "BitsAllocated")
"""Elements that an image cannot do without; all others have a default."""

ITEM_TAG = b"\xfe\xff\x00\xe0"
"""The tag before each fragment of compressed pixel data; the first fragment is the table of frame offsets."""

PALETTE_COLOR = "PALETTE COLOR"
DICOM_GREYS = ("MONOCHROME1", "MONOCHROME2")
MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 10.0
"""Spacings outside this range are neither a detector's nor those of a reduced copy."""

DICOM_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def decode_dicom(data: bytes) -> Radiograph:
    """Decode a single-frame DICOM image: greyscale to uint16, bone bright, window applied; colour to luminance.

    Raises:
        OwnOutput: an output of this program, such as a Secondary Capture of an overlay.
        UnsupportedDicom: no pixel data, several frames, or an encoding that is not read.
        DamagedImage, TooSmall, TooLarge, BlankImage.
        Exception: the data set is broken; of any type, and with a text that may quote it.
    """
    return decode_dataset(read_dicom(data), len(data))


def decode_dataset(dataset: Dataset, count: int) -> Radiograph:
    """Decode a data set like `decode_dicom`. Its missing elements are filled in.

    Args:
        dataset: with the transfer syntax in its file_meta.
        count: bytes of the file, or of the pixel data.
    """
    if _is_own_output(dataset):
        raise errors.OwnOutput("The DICOM object was made by this program.")
    syntax = dataset.file_meta.TransferSyntaxUID
    _check_header(dataset, syntax, count)
    raw = _read_pixels(dataset, syntax)
    if raw.shape[:2] != (dataset.Rows, dataset.Columns):
        raise errors.DamagedImage("The pixel data does not have the size that the header states.")
    if dataset.PhotometricInterpretation == PALETTE_COLOR:
        pixels: Pixels = luminance(np.asarray(apply_color_lut(raw, dataset)))
    elif raw.ndim == 2:
        pixels = display_values(raw, dataset, native=not _uses_codec(syntax))
    elif dataset.PhotometricInterpretation == "YBR_FULL" and syntax in KEEPS_YBR:
        pixels = np.ascontiguousarray(raw[..., 0])  # luminance is the first sample
    else:
        pixels = luminance(raw)
    return Radiograph(pixels, _spacing(dataset), _rows_run_left(dataset))


def _is_own_output(dataset: Dataset) -> bool:
    """Return whether this program made an object; False if the element that says so is broken."""
    try:
        return bool(dataset.get("Manufacturer") == OWN_PROGRAM)
    except Exception:  # of any type, and the image itself may be intact
        return False


def _uses_codec(syntax: UID) -> bool:
    """Return whether a codec produces the pixels; RLE keeps them as they were allocated."""
    return syntax.is_encapsulated and syntax != RLELossless


def _fill_defaults(dataset: Dataset) -> None:
    """Set missing elements that have a default; raise UnsupportedDicom for those that have none."""
    if "PixelData" not in dataset:
        raise errors.UnsupportedDicom("The object has no pixel data.")
    for name in REQUIRED_ELEMENTS:
        if dataset.get(name) is None:
            raise errors.UnsupportedDicom(f"The object has no {name}.")
    defaults = {"SamplesPerPixel": 1, "BitsStored": dataset.BitsAllocated, "PixelRepresentation": 0}
    for name, value in defaults.items():
        if dataset.get(name) is None:
            setattr(dataset, name, value)
    if not dataset.get("PhotometricInterpretation"):
        dataset.PhotometricInterpretation = "MONOCHROME2" if dataset.SamplesPerPixel == 1 else "RGB"


def _check_header(dataset: Dataset, syntax: UID, count: int) -> None:
    """Raise an error for what the header says must not, or cannot, be decoded."""
    _fill_defaults(dataset)
    limits.check_size(int(dataset.Rows), int(dataset.Columns), count)
    if int(dataset.get("NumberOfFrames") or 1) != 1:
        raise errors.UnsupportedDicom("The object has more than one frame.")
    grey = dataset.PhotometricInterpretation in (*DICOM_GREYS, PALETTE_COLOR) and dataset.SamplesPerPixel == 1
    if not grey and (dataset.PhotometricInterpretation not in DICOM_COLOURS or dataset.SamplesPerPixel != 3):
        raise errors.UnsupportedDicom(
            "The photometric interpretation is not MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR."
        )
    if dataset.PhotometricInterpretation == PALETTE_COLOR and "RedPaletteColorLookupTableData" not in dataset:
        raise errors.UnsupportedDicom("The object has no palette.")
    if dataset.BitsAllocated not in (8, 16):
        raise errors.UnsupportedDicom("BitsAllocated is neither 8 nor 16.")
    if not syntax.is_encapsulated:
        return
    _check_fragments(dataset)
    if not _uses_codec(syntax):
        return
    if not codecs.has_decoder(syntax):
        raise errors.UnsupportedDicom(
            f"The transfer syntax {syntax.name} has no decoder here; {codecs.CODEC_PACKAGE} reads the JPEG family."
        )
    if codecs.coded_size(_coded_frame(dataset), syntax, int(dataset.SamplesPerPixel)) != (
        dataset.Rows,
        dataset.Columns,
    ):
        raise errors.DamagedImage("The pixel data does not have the size that the header states.")


def _check_fragments(dataset: Dataset) -> None:
    """Raise DamagedImage for pixel data in so many fragments that joining them takes longer than decoding."""
    value, position = dataset.PixelData, 0
    plain = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8
    if len(value) > 2 * plain + MAX_DICOM_OVERHEAD:
        raise errors.DamagedImage("The compressed pixel data is far longer than uncompressed pixels would be.")
    for place in range(limits.MAX_ELEMENTS):
        if value[position : position + 4] != ITEM_TAG:
            return
        length = int.from_bytes(value[position + 4 : position + 8], "little")
        if place == 0 and length > 4 * limits.MAX_ELEMENTS:
            break
        position += 8 + length
    raise errors.DamagedImage(f"The compressed pixel data has more than {limits.MAX_ELEMENTS:,} fragments.")


def _coded_frame(dataset: Dataset) -> bytes:
    """Join all fragments. A single frame needs no table of offsets, and files write it wrongly."""
    buffer = io.BytesIO(dataset.PixelData)
    parse_basic_offsets(buffer)
    return b"".join(generate_fragments(buffer))


def _read_pixels(dataset: Dataset, syntax: UID) -> NDArray[np.integer]:
    """Return the pixels as allocated, (height, width); colour as `codecs.decompress_frame` returns it."""
    if syntax == RLELossless:
        size = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
        unpacked = codecs.unpack_rle(_coded_frame(dataset), *size, dataset.BitsAllocated)
        if dataset.PhotometricInterpretation == "YBR_FULL":
            return convert_color_space(unpacked, "YBR_FULL", "RGB")
        return unpacked.view(f"i{unpacked.itemsize}") if dataset.PixelRepresentation else unpacked
    if not _uses_codec(syntax):
        # Keep unused bits: pydicom would assume that the stored bits are the lowest, wherever HighBit puts them.
        return pixel_array(dataset, correct_unused_bits=False)
    sign = "i" if dataset.PixelRepresentation else "u"
    # The stream may contradict the header on the sign; the header is right (PS3.5 section 8.2.4).
    stored_as_rgb = dataset.PhotometricInterpretation == "RGB"
    pixels = codecs.decompress_frame(_coded_frame(dataset), syntax, stored_as_rgb)
    # The stream may have more bits than the header states; then the stream is right.
    if sign == "u":
        dataset.BitsStored = max(dataset.BitsStored, int(pixels.max(initial=0)).bit_length())
    return pixels.astype(f"{sign}{dataset.BitsAllocated // 8}")


def _spacing(dataset: Dataset) -> Spacing | None:
    """Return the pixel spacing; files write 0 if it is unknown."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            row, column = (float(value) for value in dataset.get(name))
        except (TypeError, ValueError):
            continue
        if min(row, column) > MIN_SPACING_MM and max(row, column) < MAX_SPACING_MM:
            return Spacing(row, column, name)
    return None


def _rows_run_left(dataset: Dataset) -> bool | None:
    """Return whether rows run towards the patient's left or right, if columns run towards the feet; otherwise None."""
    try:
        row, column = (str(value)[:1] for value in dataset.get("PatientOrientation"))
    except (TypeError, ValueError):
        return None
    return {("L", "F"): True, ("R", "F"): False}.get((row, column))
