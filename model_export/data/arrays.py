"""The arrays that training passes around, by name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
"""An image, (height, width), in [0, 1] unless a function says otherwise."""

MaskArray = NDArray[np.bool_]
"""A mask, (height, width), True inside."""
