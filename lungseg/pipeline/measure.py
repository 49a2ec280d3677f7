"""Measure the size and the position of the lungs, on the image's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungseg.decode.radiograph import Spacing
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result


@dataclass(frozen=True)
class Measures:
    """Measurements of one part of the image.

    Attributes:
        pixels: its area.
        mm2: its area in square millimetres; None if the pixel spacing is unknown.
        box: its bounding box: x and y of the top left pixel, width, height; None if it is empty.
        centroid: x and y of its centre of mass, in pixels, with pixel centres at integers; None if it is empty.
    """

    pixels: int
    mm2: float | None
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None


@dataclass(frozen=True)
class LungMeasures:
    """Measurements of both lungs, together and separately; ``right`` is the patient's right.

    Attributes:
        right_to_left: area of the right lung divided by that of the left; None if one is missing.
        share: fraction of the image that is lung, 0 to 1.
    """

    both: Measures
    right: Measures
    left: Measures
    right_to_left: float | None
    share: float


def measure_lungs(result: Result) -> LungMeasures:
    """Measure the lungs of one image."""
    spacing = result.radiograph.spacing
    right = _measure(result.labels == RIGHT, spacing)
    left = _measure(result.labels == LEFT, spacing)
    ratio = right.pixels / left.pixels if right.pixels and left.pixels else None
    return LungMeasures(_measure(result.mask, spacing), right, left, ratio, result.lung_share)


def _measure(mask: NDArray[np.bool_], spacing: Spacing | None) -> Measures:
    rows, columns = mask.sum(1), mask.sum(0)
    pixels = int(rows.sum())
    mm2 = None if spacing is None else pixels * spacing.row * spacing.column
    if not pixels:
        return Measures(0, mm2, None, None)
    used_rows, used_columns = np.flatnonzero(rows), np.flatnonzero(columns)
    x, y = int(used_columns[0]), int(used_rows[0])
    box = (x, y, int(used_columns[-1]) - x + 1, int(used_rows[-1]) - y + 1)
    centroid = (float(columns @ np.arange(columns.size)) / pixels, float(rows @ np.arange(rows.size)) / pixels)
    return Measures(pixels, mm2, box, centroid)
