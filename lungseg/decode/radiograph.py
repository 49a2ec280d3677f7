"""What every decoder gives."""

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
    """Distance between the centres of neighbouring pixels.

    Attributes:
        row, column: in mm, from one row to the next, and from one column to the next.
        source: the DICOM attribute that said so. PixelSpacing has been corrected for magnification or calibrated, if
            the file is right; ImagerPixelSpacing is measured at the detector, where the chest appears up to a tenth
            larger than it is (PS3.3 section 10.7.1.3).
    """

    row: float
    column: float
    source: str


@dataclass(frozen=True)
class Radiograph:
    """An image in memory.

    Attributes:
        picture: the image, bone bright and air dark, (height, width) uint8 or uint16 or Pillow's "L"; it may be smaller
            than the image where `decode` was told what side suffices.
        spacing: where the file knows it; formats other than DICOM state the resolution of print, which is not it.
        rows_run_left: whether rows run towards the patient's left, as on an image that hangs as it should, or his right
            (DICOM's PatientOrientation); None if the file does not say, or says something else.
        scale: how many of the image's pixels one of the picture's stands for, along a side.
        size: the image's own height and width; None if they are the picture's.
        whole: reads the image at its own size; None if the picture has it.
        file_bytes: the file that it was decoded from, not a copy; never printed.
    """

    picture: Pixels | Image.Image
    spacing: Spacing | None = None
    rows_run_left: bool | None = None
    scale: int = 1
    size: tuple[int, int] | None = None
    whole: Callable[[], Pixels] | None = None
    file_bytes: bytes = field(default=b"", repr=False)

    @cached_property
    def pixels(self) -> Pixels:
        """(height, width) uint8 or uint16, the image at its own size.

        The range in use is the file's own: a 12-bit image in a 16-bit PNG stays between 0 and 4095.
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
