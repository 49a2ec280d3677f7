"""Check that a quantised model computes on this CPU what it computed where it was exported.

An INT8 model's sums can saturate on processors without VNNI instructions: the same file then gives another mask. So the
file contains the model's answer to a phantom, from the machine where its masks were compared with the FP32 network's.
Before the model serves, its answer here must match.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCKS = 16
"""The answer is stored as the means of 16 x 16 blocks: enough to tell masks apart, and small enough for the file."""

MAX_BLOCK_DIFFERENCE = 0.01
"""Largest mean difference of a block. Processors round alike within it; saturated sums differ by more."""


def draw_phantom(side: int = 128) -> NDArray[np.uint8]:
    """Return a chest of five shapes, (side, side), which is the same everywhere. No radiograph may be stored here."""
    rows, columns = (np.mgrid[:side, :side].astype(np.float32) + 0.5) / side - 0.5
    body = np.hypot(columns / 0.46, rows / 0.62) < 1
    lungs = np.hypot((np.abs(columns) - 0.2) / 0.13, (rows + 0.03) / 0.3) < 1
    spine = body & (np.abs(columns) < 0.05)
    return (20 + 150 * body - 100 * lungs + 40 * spine).astype(np.uint8)


def block_means(probability: NDArray[np.float32]) -> list[float]:
    """Return the 256 block means of a probability map (size, size), row by row."""
    block = probability.shape[0] // BLOCKS
    means = probability.reshape(BLOCKS, block, BLOCKS, block).mean((1, 3))
    return [round(float(mean), 4) for mean in means.ravel()]


def matches_answer(probability: NDArray[np.float32], expected: list[float]) -> bool:
    """Return whether a probability map of the phantom matches the expected answer; a NaN never does."""
    difference = np.abs(np.array(block_means(probability)) - expected).mean()
    return bool(difference <= MAX_BLOCK_DIFFERENCE)
