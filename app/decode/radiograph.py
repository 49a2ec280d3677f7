"""What every decoder gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """A film in memory.

    Attributes:
        pixels: (height, width), uint8 or uint16, bone bright and air dark. The range in use is the file's own: a
            12-bit film in a 16-bit PNG stays between 0 and 4095.
        spacing: where the file knows it; formats other than DICOM state the resolution of print, which is not it.
        rows_run_left: whether rows run towards the patient's left, as on a film that hangs as it should, or his right
            (DICOM's PatientOrientation); None if the file does not say, or says something else.
    """

    pixels: Pixels
    spacing: Spacing | None = None
    rows_run_left: bool | None = None

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])
