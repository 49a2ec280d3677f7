"""Read a DICOM data set within limits, whatever its transfer syntax."""

from __future__ import annotations

import io
import re
import warnings
import zlib

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lungseg import errors, limits
from lungseg.decode.bounds.dicom import BoundedReader
from lungseg.decode.bounds.inflate import InflateReader

# pydicom logs and warns of unusual values with their content; logs must not contain a patient's data.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
pydicom.config.logger.disabled = True
warnings.filterwarnings("ignore", module=r"pydicom\b")

META_START = 132
"""Where the file meta information starts: after the preamble and "DICM" (PS3.10 section 7.1)."""

EXPLICIT_VR = re.compile(rb"[A-Z]{2}")
"""A value representation after a tag (PS3.5 section 7.1.2); implicit data sets have a length there."""

SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"
"""The end of compressed pixel data (PS3.5 section A.4)."""

PIXEL_DATA_BYTES = b"\xe0\x7f\x10\0"
"""The tag of the pixel data, little endian."""

MAX_DICOM_OVERHEAD = 2**20
"""Bytes of headers, profiles and the like in compressed pixel data; a deflated data set may always have so many."""

MAX_DATASET_RATIO = 250
"""Bytes that one byte of a deflated data set expands to at most; images reach 4, synthetic ones a few dozen."""


def read_dicom(data: bytes) -> Dataset:
    """Read a data set; a deflated one is inflated only up to the limits of an image."""
    file = BoundedReader(data)
    try:
        syntax, start = _read_meta(file)
        if syntax == DeflatedExplicitVRLittleEndian:
            file, syntax, start = BoundedReader(_inflate_dataset(data, start)), ExplicitVRLittleEndian, 0
        file.seek(start)
        # Not dcmread: it looks for the transfer syntax again, may find another one, and inflates without a limit.
        dataset = read_dataset(file, syntax.is_implicit_VR, syntax.is_little_endian)
        if syntax.is_encapsulated and "PixelData" not in dataset and PIXEL_DATA_BYTES in data:
            # pydicom drops an element that does not end, and some writers forget the delimiter but nothing else.
            file = BoundedReader(data + SEQUENCE_DELIMITER)
            file.seek(start)
            dataset = read_dataset(file, syntax.is_implicit_VR, syntax.is_little_endian)
            if "PixelData" not in dataset:
                raise errors.DamagedImage("The DICOM data is damaged or truncated.")
    except Exception:
        file.check()
        raise
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _inflate_dataset(data: bytes, start: int) -> bytes:
    """Inflate a data set, up to the limits of an image and of a plausible compression ratio."""
    plain, pieces = io.BytesIO(), InflateReader([memoryview(data)[start:]], -zlib.MAX_WBITS)
    for piece in pieces:
        plain.write(piece)
        if plain.tell() > min(limits.MAX_BYTES, MAX_DICOM_OVERHEAD + MAX_DATASET_RATIO * pieces.taken):
            raise errors.TooLarge("The deflated data set is far larger than any image.")
    if not pieces.ended:
        raise errors.DamagedImage("The deflated data set is truncated.")
    return plain.getvalue()


def _read_meta(meta: BoundedReader) -> tuple[UID, int]:
    """Return the transfer syntax, and where the file meta information ends."""
    meta.seek(META_START)
    syntax, end = None, None
    for element in data_element_generator(meta, False, True, stop_when=lambda tag, *_: tag >> 16 != 2):
        if element.tag == 0x00020000 and isinstance(element.value, bytes):
            end = meta.tell() + int.from_bytes(element.value, "little")
        if element.tag == 0x00020010 and isinstance(element.value, bytes):
            syntax = UID(element.value.decode("ascii").strip("\0 "))
        # Files state this end wrongly. It is needed only before a deflate stream, which may start like an element.
        if syntax == DeflatedExplicitVRLittleEndian and end is not None and meta.tell() >= end:
            return syntax, end
    if syntax is None:
        meta.seek(META_START)
        syntax = ExplicitVRLittleEndian if EXPLICIT_VR.match(meta.read(6), 4) else ImplicitVRLittleEndian
        return syntax, META_START
    if not syntax.is_transfer_syntax:
        raise errors.UnsupportedDicom("The transfer syntax is not defined by the DICOM standard.")
    return syntax, meta.tell()
