"""The lungs' outlines as polygons, and the mask as run lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungseg.pipeline.mask import LEFT, RIGHT, Outline, Region
from lungseg.pipeline.result import Result

SIDE_NAMES = {RIGHT: "right lung", LEFT: "left lung"}


def contours(result: Result) -> dict[str, Any]:
    """The lungs as a GeoJSON FeatureCollection (RFC 7946) in the image's pixels instead of degrees.

    One polygon for each connected part, largest first, its first ring the outline and the others holes. x runs to the
    right and y down, from (0, 0) at the image's top left corner to (width, height); a pixel's centre lies at a half.
    Outlines turn clockwise as they are seen on the image, holes counter-clockwise.
    """
    return {
        "type": "FeatureCollection",
        "width": result.geometry.width,
        "height": result.geometry.height,
        "features": [_feature(region, result) for region in result.regions],
    }


def _feature(region: Region, result: Result) -> dict[str, Any]:
    label = _side(region, result.sides)
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon",
            "coordinates": [_film_points(outline, result).tolist() for outline in (region.outline, *region.holes)],
        },
        "properties": {"label": label, "name": SIDE_NAMES[label]},
    }


def _side(region: Region, sides: NDArray[np.uint8]) -> int:
    """The lung to which most of a region's outline belongs."""
    last = np.array(sides.shape[::-1]) - 1
    x, y = np.clip(np.rint(region.outline).astype(int), 0, last).T
    return RIGHT if (sides[y, x] == RIGHT).mean() >= 0.5 else LEFT


def _film_points(outline: Outline, result: Result) -> NDArray[np.float64]:
    """Points of the network's grid in the image's pixels: centres at whole numbers there, at halves here."""
    geometry = result.geometry
    scale = np.array([geometry.width / geometry.box_width, geometry.height / geometry.box_height])
    return np.round((outline + 0.5) * scale, 2)


def run_lengths(result: Result) -> dict[str, Any]:
    """The mask as COCO has it: compressed run lengths of both lungs, and of each.

    ``pycocotools.mask.decode(document["lungs"])`` gives it back.
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
