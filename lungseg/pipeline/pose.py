"""How an image lies in its file, and the way there and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pose:
    """What has been done to an upright image.

    Attributes:
        mirrored: whether right and left have been exchanged, before it was turned.
        turns: by how many quarter turns counter-clockwise it has been turned, 0 to 3.
        inverted: whether bone is dark.
    """

    turns: int = 0
    inverted: bool = False
    mirrored: bool = False

    def undo(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        """A network's input (1, channels, size, size) as if the image stood upright with bone bright.

        A mirrored image stays mirrored: the network was trained on such, too. Standardised greys have mean 0, so that
        inverting the image's greys is changing their sign.
        """
        upright = np.rot90(square, -self.turns, (2, 3))
        return np.ascontiguousarray(-upright if self.inverted else upright)

    def redo(self, grids: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network found, (outputs, size, size), as the image lies."""
        return np.rot90(grids, self.turns, (1, 2))

    @property
    def axis(self) -> int:
        """The picture's axis along which the patient's right and left lie: 1 side by side, 0 one above the other."""
        return 1 - self.turns % 2

    @property
    def right_is_first(self) -> bool:
        """Whether the patient's right is at the smaller coordinate of `axis`, as on an image that hangs as it should."""
        return (self.turns in (0, 3)) != self.mirrored


UPRIGHT_POSE = Pose()
