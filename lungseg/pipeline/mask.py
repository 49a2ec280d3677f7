"""From the network's probability to lungs: their regions, specks and holes, and which is the patient's right one.

All of it works on the network's own grid, the part of it that is image (`Geometry.box`). The image's own grid may be a
hundred times larger, and nothing is found there that is not seen here.
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
"""matplotlib's code of a point that begins an outline."""

RIGHT, LEFT = 1, 2
"""Labels of the patient's lungs."""

MIN_FRAGMENT_RATIO = 0.05
"""A region smaller than this part of the largest one is no lung, nor a piece of one."""

MIN_HOLE_RATIO = 0.1
"""A hole smaller than this part of its region is lung that hides behind something; a larger one, between two lungs that
touch above and below it, is the mediastinum."""

DRAW_MARGIN = 2
"""How many pixels beyond an outline `_drawn` reaches at most."""

THRESHOLD_MARGIN = 0.001
"""How far from the threshold a speck or a hole is brought: more than what resizing rounds."""

MIN_SIDE_SHARE = 0.85
"""A region of which so much lies on one side of the midline is of that side."""


@dataclass(frozen=True)
class Region:
    """A connected part of the mask.

    Attributes:
        outline: (points, 2) x and y of its edge, closed (the last point is the first), between pixel centres where the
            probability crosses the threshold; pixel centres are whole numbers.
        holes: the same of each hole.
    """

    outline: Outline
    holes: tuple[Outline, ...]

    @property
    def area(self) -> float:
        """Square pixels, those of the holes not counted."""
        return outline_area(self.outline) - sum(outline_area(hole) for hole in self.holes)


def outline_area(outline: Outline) -> float:
    """What a closed outline encloses, in square pixels (shoelace formula)."""
    x, y = outline.T
    return abs(float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1]))) / 2


def find_regions(probability: NDArray[np.float32], threshold: float) -> list[Region]:
    """The connected parts of a mask, largest first.

    Args:
        probability: (height, width) in [0, 1].
        threshold: what lung lies above, in (0, 1).
    """
    above = probability > threshold
    rows, columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not rows.size:
        return []
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    # Nothing is found where nothing is above. One pixel more on each side, cut back to half a one: lung at the border
    # reaches the picture's very edge.
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
        found: its `regions`.
        threshold: theirs.

    Returns:
        The same array if there is nothing to clean, else another one.
    """
    least = MIN_FRAGMENT_RATIO * found[0].area if found else 0
    specks = [region.outline for region in found if region.area < least]
    lungs = [region for region in found if region.area >= least]
    holes = [
        hole
        for region in lungs
        for hole in region.holes
        if outline_area(hole) < MIN_HOLE_RATIO * outline_area(region.outline)
    ]
    # A hole may hold an island, which is a region of its own: specks first, then holes over them.
    for outlines, limit, value in (
        (specks, np.minimum, threshold - THRESHOLD_MARGIN),
        (holes, np.maximum, threshold + THRESHOLD_MARGIN),
    ):
        if outlines:
            drawn = _drawn(outlines, probability.shape)
            probability = np.where(drawn, limit(probability, np.float32(value)), probability)
    return probability


def assign_sides(mask: NDArray[np.bool_], found: list[Region], axis: int, swapped: bool) -> NDArray[np.uint8]:
    """For each pixel of the grid, which lung it would belong to if it were lung: RIGHT or LEFT.

    A region goes to one side as a whole, unless both lungs have grown together in it.

    Args:
        mask: (height, width) bool, True = lung.
        found: its regions.
        axis: 1 if the patient's right and left lie beside each other in the picture, 0 if one above the other.
        swapped: whether the patient's right is at the greater coordinate; in an image as it is hung it is on the left.

    Returns:
        (height, width) uint8.
    """
    first, second = (LEFT, RIGHT) if swapped else (RIGHT, LEFT)
    middle = _midline(mask, axis)
    place = np.arange(mask.shape[axis]) < middle
    halves = np.where(place if axis == 1 else place[:, np.newaxis], np.uint8(first), np.uint8(second))
    sided = np.ascontiguousarray(np.broadcast_to(halves, mask.shape))
    for region in reversed(found):
        along = region.outline[:, 1 - axis]
        if along.max() + DRAW_MARGIN < middle or along.min() - DRAW_MARGIN > middle:
            continue  # its half is its side
        # Its bounding box alone, and a pixel around it: most regions are small.
        left, top = np.maximum(np.floor(region.outline.min(0)).astype(int) - 1, 0)
        right, bottom = np.ceil(region.outline.max(0)).astype(int) + 2
        part = sided[top:bottom, left:right]
        inside = _drawn([region.outline - (left, top)], part.shape)
        share = float((part[inside] == first).mean()) if inside.any() else 0.5
        if max(share, 1 - share) >= MIN_SIDE_SHARE:
            part[inside] = first if share > 0.5 else second
    return sided


def _midline(mask: NDArray[np.bool_], axis: int) -> float:
    """Where the right and left lungs part: the thinnest place in the middle half of what the mask spans.

    A mask that lies on one side of the image's own middle is one lung, and that middle parts it from the missing one.
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
    """True inside of the outlines and on the pixels that they pass through, (height, width)."""
    picture = Image.new("1", (shape[1], shape[0]))
    draw = ImageDraw.Draw(picture)
    for outline in outlines:
        draw.polygon(outline.ravel().tolist(), fill=1, outline=1, width=2)
    return np.asarray(picture)
