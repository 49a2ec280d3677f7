"""The pose of an image in its file: rotated, inverted or mirrored, and how to undo it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pose:
    """How an image differs from an upright one.

    Attributes:
        turns: quarter turns counter-clockwise, 0 to 3.
        inverted: whether bone is dark.
        mirrored: whether right and left are swapped, before the rotation.
    """

    turns: int = 0
    inverted: bool = False
    mirrored: bool = False

    def to_upright(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a network's input (1, channels, size, size) upright, with bone bright.

        A mirrored image stays mirrored, because the network was trained on those, too. Standardised greys have mean 0,
        so a change of sign inverts them.
        """
        upright = np.rot90(square, -self.turns, (2, 3))
        return np.ascontiguousarray(-upright if self.inverted else upright)

    def to_original(self, grids: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a network's output, (outputs, size, size), in the pose of the image."""
        return np.rot90(grids, self.turns, (1, 2))

    @property
    def axis(self) -> int:
        """The axis from the patient's right to left: 1 if the lungs are side by side, 0 if one is above the other."""
        return 1 - self.turns % 2

    @property
    def is_right_first(self) -> bool:
        """Whether the patient's right is at the smaller coordinate of `axis`, as in an image with standard hanging."""
        return (self.turns in (0, 3)) != self.mirrored


UPRIGHT_POSE = Pose()
