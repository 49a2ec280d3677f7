"""Turn the network's probability into lungs: regions, small fragments and holes, and which lung is the right one.

Everything here works on the network's grid, in the image's box (`Geometry.box`). The image's own grid may have a
hundred times as many pixels, but no more information.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import contourpy
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Outline = NDArray[np.float64]

MOVE_TO = 1
"""matplotlib's code for the first point of an outline."""

RIGHT, LEFT = 1, 2
"""Labels of the lungs, on the patient's own side."""

MIN_FRAGMENT_RATIO = 0.05
"""A region smaller than this fraction of the largest one is not lung."""

MIN_HOLE_RATIO = 0.1
"""A hole smaller than this fraction of its region is lung behind something opaque. A larger one, between two lungs that
touch above and below it, is the mediastinum."""

DRAW_MARGIN = 2
"""`_drawn` reaches at most this many pixels beyond an outline."""

THRESHOLD_MARGIN = 0.001
"""Distance of a removed fragment or filled hole from the threshold: more than the rounding of upsampling."""

MIN_SIDE_SHARE = 0.85
"""A region with at least this share on one side of the midline belongs to that side."""


@dataclass(frozen=True)
class Region:
    """A connected region of the mask.

    Attributes:
        outline: (points, 2) x and y of its edge, closed (the last point is the first), where the probability crosses
            the threshold between pixel centres; pixel centres are integers.
        holes: the outline of each hole.
    """

    outline: Outline
    holes: tuple[Outline, ...]

    @property
    def area(self) -> float:
        """The area in square pixels, without the holes."""
        return outline_area(self.outline) - sum(outline_area(hole) for hole in self.holes)


def outline_area(outline: Outline) -> float:
    """Return the area of a closed outline in square pixels (shoelace formula)."""
    x, y = outline.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def find_regions(probability: NDArray[np.float32], threshold: float) -> list[Region]:
    """Return the connected regions of a mask, largest first.

    Args:
        probability: (height, width) in [0, 1].
        threshold: a pixel is lung if its probability is above this, in (0, 1).
    """
    above = probability > threshold
    rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not rows.size:
        return []
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    # Search only around the pixels above the threshold. Pad by one pixel and clip to half a pixel afterwards, so that
    # the outline of lung at the border follows the edge of the image.
    padded = np.pad(probability[top : rows[-1] + 2, left : columns[-1] + 2], 1, mode="edge")
    # contourpy's oldest algorithm finds the same edges as its newest in half the time.
    generator = contourpy.contour_generator(z=padded, name="mpl2005", fill_type=contourpy.FillType.OuterCode)
    edges = np.array(probability.shape[::-1]) - 0.5
    found = []
    for padded_points, codes in zip(*generator.filled(threshold, np.inf), strict=True):
        points = np.clip(padded_points + np.array((left - 1, top - 1)), -0.5, edges)
        starts = (*np.flatnonzero(codes == MOVE_TO), len(codes))
        outline, *holes = (points[start:end] for start, end in pairwise(starts))
        found.append(Region(outline, tuple(holes)))
    return sorted(found, key=lambda region: region.area, reverse=True)


def clean_probability(probability: NDArray[np.float32], found: list[Region], threshold: float) -> NDArray[np.float32]:
    """Return the probability with small fragments just below the threshold and small holes just above it.

    Just, because the full image's pixels beside a fragment or a hole are interpolated between it and the lung. So a
    higher threshold, at which it may not exist, never gives them more lung than a lower one.

    Args:
        probability: (height, width) float32 in [0, 1].
        found: its regions, by `find_regions`.
        threshold: the threshold that they were found with.

    Returns:
        The same array if there is nothing to clean, else a new one.
    """
    min_area = MIN_FRAGMENT_RATIO * found[0].area if found else 0
    fragments = [region.outline for region in found if region.area < min_area]
    lungs = [region for region in found if region.area >= min_area]
    holes = [
        hole
        for region in lungs
        for hole in region.holes
        if outline_area(hole) < MIN_HOLE_RATIO * outline_area(region.outline)
    ]
    # A hole may contain a fragment, which is a region of its own: remove fragments first, then fill holes over them.
    for outlines, limit, value in (
        (fragments, np.minimum, threshold - THRESHOLD_MARGIN),
        (holes, np.maximum, threshold + THRESHOLD_MARGIN),
    ):
        if outlines:
            drawn = _drawn(outlines, probability.shape)
            probability = np.where(drawn, limit(probability, np.float32(value)), probability)
    return probability


def assign_sides(mask: NDArray[np.bool_], found: list[Region], axis: int, swapped: bool) -> NDArray[np.uint8]:
    """Return for each pixel of the grid the lung that it would belong to if it were lung: RIGHT or LEFT.

    A region belongs to one side as a whole, unless it contains both lungs.

    Args:
        mask: (height, width) bool, True = lung.
        found: its regions.
        axis: 1 if the lungs are side by side in the image, 0 if one is above the other.
        swapped: whether the patient's right is at the greater coordinate; with standard hanging it is at the smaller.

    Returns:
        (height, width) uint8.
    """
    first, second = (LEFT, RIGHT) if swapped else (RIGHT, LEFT)
    middle = _midline(mask, axis)
    is_first = np.arange(mask.shape[axis]) < middle
    halves = np.where(is_first if axis == 1 else is_first[:, np.newaxis], np.uint8(first), np.uint8(second))
    sided = np.ascontiguousarray(np.broadcast_to(halves, mask.shape))
    for region in reversed(found):
        along = region.outline[:, 1 - axis]
        if along.max() + DRAW_MARGIN < middle or along.min() - DRAW_MARGIN > middle:
            continue  # entirely in one half, which is labelled already
        # Draw only in its bounding box, with a margin of a pixel: most regions are small.
        left, top = np.maximum(np.floor(region.outline.min(0)).astype(int) - 1, 0)
        right, bottom = np.ceil(region.outline.max(0)).astype(int) + 2
        part = sided[top:bottom, left:right]
        inside = _drawn([region.outline - (left, top)], part.shape)
        share = float((part[inside] == first).mean()) if inside.any() else 0.5
        if max(share, 1 - share) >= MIN_SIDE_SHARE:
            part[inside] = first if share > 0.5 else second
    return sided


def _midline(mask: NDArray[np.bool_], axis: int) -> float:
    """Return where the right lung ends and the left begins: the thinnest place in the middle half of the mask's extent.

    A mask on one side of the image's centre is a single lung, and the centre separates it from the missing one.
    """
    counts = mask.sum(1 - axis)
    middle = len(counts) / 2
    before = counts[: int(middle)].sum() / max(1, counts.sum())
    if max(before, 1 - before) >= MIN_SIDE_SHARE:
        return middle
    used = np.flatnonzero(counts)
    start, end = used[0], used[-1] + 1
    quarter = (end - start) // 4
    central = counts[start + quarter : end - quarter]
    thin = np.flatnonzero(central == central.min()) + start + quarter
    return float(thin[np.abs(thin - np.median(thin)).argmin()]) + 0.5


def _drawn(outlines: list[Outline], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask, (height, width), of the pixels inside the outlines or on them."""
    picture = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(picture)
    for outline in outlines:
        draw.polygon(outline.ravel().tolist(), fill=1, outline=1, width=2)
    return np.asarray(picture)
