"""Lung outlines as polygons, and the mask as run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungseg.pipeline.mask import LEFT, RIGHT, Outline, Region, find_regions
from lungseg.pipeline.result import Result

SIDE_NAMES = {RIGHT: "right lung", LEFT: "left lung"}


def contours(result: Result) -> dict[str, Any]:
    """Return the lungs as a GeoJSON FeatureCollection (RFC 7946), in pixels of the image instead of degrees.

    Each connected region is a polygon, largest first. Its first ring is the outline, the others are holes. x increases
    to the right and y downwards, from (0, 0) at the image's top left corner to (width, height); the centre of the first
    pixel is (0.5, 0.5). On the image, outlines are clockwise and holes counter-clockwise.
    """
    return {
        "type": "FeatureCollection",
        "width": result.geometry.width,
        "height": result.geometry.height,
        "features": [_feature(region, result) for region in result.regions],
    }


def lung_rings(result: Result, label: int) -> list[NDArray[np.float64]]:
    """Return the closed outlines of one lung, and of its holes, each (points, 2) x and y in the image's pixels.

    Unlike in `contours`, two lungs that touch have outlines of their own.

    Args:
        result: of the image.
        label: mask.RIGHT or mask.LEFT.
    """
    lung = np.where(result.sides == label, result.cleaned, np.float32(0))
    regions = find_regions(lung, result.threshold)
    return [_image_points(ring, result) for region in regions for ring in (region.outline, *region.holes)]


def _feature(region: Region, result: Result) -> dict[str, Any]:
    label = _side(region, result.sides)
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [_image_points(outline, result).tolist() for outline in (region.outline, *region.holes)],
        },
        "properties": {"label": label, "name": SIDE_NAMES[label]},
    }


def _side(region: Region, sides: NDArray[np.uint8]) -> int:
    """Return the lung that most of a region's outline belongs to."""
    last = np.array(sides.shape[::-1]) - 1
    x, y = np.clip(np.rint(region.outline).astype(int), 0, last).T
    return RIGHT if (sides[y, x] == RIGHT).mean() >= 0.5 else LEFT


def _image_points(outline: Outline, result: Result) -> NDArray[np.float64]:
    """Convert points from the network's grid, with pixel centres at integers, to the image, with centres at halves."""
    geometry = result.geometry
    scale = np.array([geometry.width / geometry.box_width, geometry.height / geometry.box_height])
    return np.round((outline + 0.5) * scale, 2)


def run_lengths(result: Result) -> dict[str, Any]:
    """Return compressed COCO run lengths of both lungs, and of each.

    ``pycocotools.mask.decode(document["lungs"])`` returns the mask.
    """
    return {
        "lungs": _encode(result.mask),
        "right": _encode(result.labels == RIGHT),
        "left": _encode(result.labels == LEFT),
    }


def _encode(mask: NDArray[np.bool_]) -> dict[str, Any]:
    from pycocotools.mask import encode

    code = encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}
