"""What every decoder returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Spacing:
    """The distance between the centres of neighbouring pixels.

    Attributes:
        row, column: in mm, from one row to the next, and from one column to the next.
        source: the DICOM attribute that states it. PixelSpacing is corrected for magnification or calibrated, if the
            file is right; ImagerPixelSpacing is measured at the detector, where the chest appears up to 10 % larger
            than it is (PS3.3 section 10.7.1.3).
    """

    row: float
    column: float
    source: str


@dataclass(frozen=True)
class Radiograph:
    """A decoded radiograph.

    Attributes:
        picture: the image, bone bright and air dark, (height, width) uint8 or uint16 or Pillow's "L". It may be reduced
            if `decode` was called with ``min_side``.
        spacing: if the file states it. Formats other than DICOM state the resolution for print, which is ignored.
        rows_run_left: whether rows run towards the patient's left, as in the standard view, or right (DICOM's
            PatientOrientation); None if the file does not say, or says something else.
        scale: pixels of the image per pixel of the picture, along a side.
        size: full height and width; None if the picture has full size.
        whole: decodes the image at full size; None if the picture has it.
        file: the file that the image was decoded from, or a function that writes one; left out of repr().
    """

    picture: Pixels | Image.Image
    spacing: Spacing | None = None
    rows_run_left: bool | None = None
    scale: int = 1
    size: tuple[int, int] | None = None
    whole: Callable[[], Pixels] | None = None
    file: bytes | Callable[[], bytes] = field(default=b"", repr=False)

    @cached_property
    def file_bytes(self) -> bytes:
        """The file that the image was decoded from; empty if it was decoded from an array."""
        return self.file if isinstance(self.file, bytes) else self.file()

    @cached_property
    def pixels(self) -> Pixels:
        """(height, width) uint8 or uint16, the image at full size.

        The range of values is the file's: a 12-bit image in a 16-bit PNG stays between 0 and 4095.
        """
        return np.asarray(self.picture) if self.whole is None else self.whole()

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self._size[0]

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self._size[1]

    @cached_property
    def _size(self) -> tuple[int, int]:
        if self.size is not None:
            return self.size
        if isinstance(self.picture, Image.Image):
            return self.picture.height, self.picture.width
        height, width = self.picture.shape
        return height, width
