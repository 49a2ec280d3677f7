"""Limits on what pydicom reads of a data set.

pydicom creates an object for each element and each value, so a megabyte of small ones takes a second. Therefore what it
reads and converts is counted.
"""

from __future__ import annotations

import io
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_sequence
from pydicom.hooks import hooks, raw_element_value

from lungseg import errors, limits

MAX_READS_PER_ELEMENT = 3
"""Reads per element: tag and length, a long length, the value."""

CHARACTER_SET_TAGS = (b"\x08\0\5\0", b"\0\x08\0\5")
"""The tag of Specific Character Set in both byte orders: pydicom splits its value while reading."""

MAX_CHARACTER_SETS = 2**10

MIN_LONG_READ = 2**12
"""Bytes: reading a longer value takes time in proportion to its bytes, and its tag has been counted."""

MAX_SEQUENCE = 2**23

PIXEL_DATA_TAG = 0x7FE00010

BINARY_VRS = {"OB", "OW", "OB or OW", "OD", "OF", "OL", "OV", "UN", "US", "SS", "US or SS", "US or OW"}
"""Value representations of tables, and those that pydicom does not split."""


class BoundedReader(io.BytesIO):
    """A file that allows pydicom a limited number of reads, which bounds the number of elements."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left, self._tag = MAX_READS_PER_ELEMENT * limits.MAX_ELEMENTS, b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read like any file.

        Raises:
            UnsupportedDicom: too many reads. pydicom may replace this error by its own; `check` raises it again.
        """
        if size is None or size < MIN_LONG_READ:
            self._left -= 1
            self.check()
        if size == 8:
            found = super().read(8)
            self._tag = found[:4]
            return found
        if self._tag in CHARACTER_SET_TAGS and size is not None and size > MAX_CHARACTER_SETS:
            self._left = -1
            self.check()
        return super().read(size)

    def check(self) -> None:
        """Raise UnsupportedDicom if there were too many reads."""
        if self._left < 0:
            raise errors.UnsupportedDicom(f"The object has more than {limits.MAX_ELEMENTS:,} elements.")


def _convert_value(raw: RawDataElement, data: dict[str, Any], *, encoding: Any = None, **others: Any) -> None:
    """Convert an element when it is accessed, as pydicom does, but raise UnsupportedDicom if it exceeds the limits."""
    kind, value = data["VR"], raw.value or b""
    if kind == "SQ" and len(value) <= MAX_SEQUENCE:
        stream = BoundedReader(value)
        try:
            data["value"] = read_sequence(stream, raw.is_implicit_VR, raw.is_little_endian, len(value), encoding)
        except Exception:
            stream.check()
            raise
        return
    max_bytes = limits.MAX_VALUE if kind in BINARY_VRS else limits.MAX_TEXT
    if raw.tag != PIXEL_DATA_TAG and len(value) > max_bytes:
        raise errors.UnsupportedDicom(f"An element has more than {max_bytes:,} bytes.")
    raw_element_value(raw, data, encoding=encoding, **others)


hooks.register_callback("raw_element_value", _convert_value)
