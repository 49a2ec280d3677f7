"""Does a quantised model give on this CPU what it gave where it was made?

An INT8 model's sums can saturate on processors without VNNI instructions: same file, other mask. So its file carries
the answer that it gave for one drawing where its masks were compared with the exact network's, and it is asked for that
again before it serves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCKS = 16
"""The answer is kept as means over 16 x 16 blocks: enough to tell masks apart, little enough to travel in the file."""

MAX_BLOCK_DIFFERENCE = 0.01
"""Mean difference of a block that is still the same answer: processors round alike, and saturated sums move it more."""


def draw_phantom(side: int = 128) -> NDArray[np.uint8]:
    """A chest in five shapes, (side, side): no image may be stored, and this is drawn the same everywhere."""
    rows, columns = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side - 0.5
    body = np.hypot(columns / 0.46, rows / 0.62) < 1
    lungs = np.hypot((np.abs(columns) - 0.2) / 0.13, (rows + 0.03) / 0.3) < 1
    spine = body & (np.abs(columns) < 0.05)
    return (20 + 150 * body - 100 * lungs + 40 * spine).astype(np.uint8)


def block_means(probability: NDArray[np.float32]) -> list[float]:
    """A probability map (size, size) as its 256 block means, row by row."""
    block = probability.shape[0] // BLOCKS
    means = probability.reshape(BLOCKS, block, BLOCKS, block).mean((1, 3))
    return [round(float(mean), 4) for mean in means.ravel()]


def matches_answer(probability: NDArray[np.float32], expected: list[float]) -> bool:
    """Whether a probability map of the drawing is the expected answer; never with a NaN."""
    difference = np.abs(np.array(block_means(probability)) - expected).mean()
    return bool(difference <= MAX_BLOCK_DIFFERENCE)
