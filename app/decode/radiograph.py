"""What every decoder gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Radiograph:
    """A film in memory.

    Attributes:
        pixels: (height, width), uint8 or uint16, bone bright and air dark. The range in use is the file's own: a
            12-bit film in a 16-bit PNG stays between 0 and 4095.
    """

    pixels: Pixels

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.pixels.shape[1])
