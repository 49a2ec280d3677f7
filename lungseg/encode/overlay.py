"""The image with the lungs tinted and outlined: a picture to look at, not data. The page at `/` draws the same.

The picture has a palette: 84 greys, the same greys tinted for each lung, and the colours of the outlines. That makes it
three times as small as RGB, and three times as fast to write.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg.decode.radiograph import Pixels
from lungseg.encode.png_file import samples_png
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.options import DEFAULT_OPACITY

LUNG_COLOURS = {RIGHT: "#56b4e9", LEFT: "#f0a830"}
"""Colours of the patient's right and left lung: a sky blue and an orange, which colour-blind people tell apart."""

GREY_LEVELS = 84
"""Greys of the image in the palette. Three times as many and two outlines are the 254 colours of 8 bits' 256."""

OUTLINE_SHARE = 1 / 500
"""Width of the outline as a share of the longer side: about 2 pixels on a screen."""

SHADOW_SHARE = 1 / 3
"""Brightness of the image beside the outline, where a dark line keeps it visible on bone."""

BAND_ROWS = 64
"""Rows that are converted at a time: indices take 8 bytes per pixel."""


def draw_overlay(
    pixels: Pixels, labels: NDArray[np.uint8] | NDArray[np.bool_], opacity: float = DEFAULT_OPACITY
) -> Image.Image:
    """Draw the lungs over their image.

    Args:
        pixels: (height, width) uint8 or uint16.
        labels: (height, width): 1 = the patient's right lung, 2 = the left lung, 0 = elsewhere. A mask of bool is drawn
            in the right lung's colour.
        opacity: of the tint, from 0 (outlines only) to 1 (no image within the lungs).

    Returns:
        An RGB picture of the image's size, with the darkest and brightest 0.5 % of the pixels clipped.
    """
    indices, palette = _indexed_overlay(pixels, labels, opacity)
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    return picture.convert("RGB")


def overlay_png(pixels: Pixels, labels: NDArray[np.uint8], opacity: float = DEFAULT_OPACITY) -> bytes:
    """Return `draw_overlay` as a PNG with a palette."""
    return samples_png(*_indexed_overlay(pixels, labels, opacity))


def screen_pixels(pixels: Pixels) -> NDArray[np.uint8]:
    """Return an image as 8 bits for a screen, with the darkest and brightest 0.5 % of the pixels clipped."""
    return _look_up(_screen_table(pixels), pixels)


def _indexed_overlay(
    pixels: Pixels, labels: NDArray[np.uint8] | NDArray[np.bool_], opacity: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the overlay as indices, (height, width), into a palette, (254, 3) RGB."""
    labels = labels.view(np.uint8)
    levels = (_screen_table(pixels).astype(np.uint16) * GREY_LEVELS // 256).astype(np.uint8)
    greys = _look_up(levels, pixels)
    indices = labels * np.uint8(GREY_LEVELS)
    indices += greys
    _draw_outlines(indices, greys, labels)
    return indices, _palette(opacity)


def _palette(opacity: float) -> NDArray[np.uint8]:
    """Return the colours: greys, the greys of each lung, the outline of each lung."""
    colours = np.array([[int(each[at : at + 2], 16) for at in (1, 3, 5)] for each in LUNG_COLOURS.values()], np.float64)
    greys = np.repeat(np.linspace(0, 255, GREY_LEVELS)[:, np.newaxis], 3, axis=1)
    tinted = (greys + opacity * (colour - greys) for colour in colours)
    return np.rint(np.concatenate([greys, *tinted, colours])).astype(np.uint8)


def _draw_outlines(indices: NDArray[np.uint8], greys: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Draw a line along the edge of the lungs, in the colour of each, with a dark line below that is twice as wide."""
    edge = _edge_pixels(labels)
    radius = max(labels.shape) * OUTLINE_SHARE / 2
    rows, columns = _stamp(edge, 2 * radius, labels.shape)
    indices[rows, columns] = (greys[rows, columns] * SHADOW_SHARE).astype(np.uint8)
    for label in LUNG_COLOURS:
        of_lung = tuple(axis[labels[edge] == label] for axis in edge)
        indices[_stamp((of_lung[0], of_lung[1]), radius, labels.shape)] = 3 * GREY_LEVELS + label - 1


Points = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns of pixels."""


def _edge_pixels(labels: NDArray[np.uint8]) -> Points:
    """Return the pixels of the lungs that have a neighbour outside of them. The image's border is no edge."""
    box = Image.fromarray(labels).getbbox()
    if box is None:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    left, top, right, bottom = box
    lungs = np.pad(labels[max(0, top - 1) : bottom + 1, max(0, left - 1) : right + 1] > 0, 1, mode="edge")
    inner = lungs[1:-1, :-2] & lungs[1:-1, 2:]
    inner &= lungs[:-2, 1:-1]
    inner &= lungs[2:, 1:-1]
    rows, columns = np.divmod(np.flatnonzero(lungs[1:-1, 1:-1] > inner), inner.shape[1])
    return rows + max(0, top - 1), columns + max(0, left - 1)


def _stamp(points: Points, radius: float, shape: tuple[int, ...]) -> Points:
    """Return the pixels within a radius of any of the points; some are there several times."""
    rows, columns = points
    # Discs this close have a smooth edge: their bulges are lower than half a pixel.
    step = max(1, int(2 * radius**0.5))
    is_used = (rows % step == 0) | (columns % step == 0)
    span = np.arange(-int(radius), int(radius) + 1)
    down, across = (axis.ravel() for axis in np.meshgrid(span, span, indexing="ij"))
    is_near = down**2 + across**2 <= radius**2
    return (
        np.clip(rows[is_used, np.newaxis] + down[is_near], 0, shape[0] - 1).ravel(),
        np.clip(columns[is_used, np.newaxis] + across[is_near], 0, shape[1] - 1).ravel(),
    )


def _screen_table(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the screen's grey for each value of a pixel."""
    low, high = np.percentile(pixels[::4, ::4], (0.5, 99.5))
    values = np.arange(np.iinfo(pixels.dtype).max + 1)
    return np.clip((values.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)


def _look_up(table: NDArray[np.uint8], pixels: Pixels) -> NDArray[np.uint8]:
    found = np.empty(pixels.shape, np.uint8)
    for first in range(0, len(pixels), BAND_ROWS):
        band = slice(first, first + BAND_ROWS)
        np.take(table, pixels[band], out=found[band], mode="clip")
    return found
