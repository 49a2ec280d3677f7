"""Convert an image to a network's input, the same for training and serving. `pipeline.upsample` is the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors
from lungseg.decode.radiograph import Pixels, Radiograph

REDUCING_GAP = 2.0
"""An image is reduced by whole blocks to at least this many times its size in the input, then resized (Pillow's
``reducing_gap``)."""


@dataclass(frozen=True)
class InputSpec:
    """The input that a network was trained on. Its card holds it.

    Attributes:
        size: side of the square input, in pixels.
        low_percentile, high_percentile: greys beyond them are clipped (letters, markers, metal).
        stride: the percentiles are computed from every stride-th pixel of the shrunken image.
        channels: how often the grey channel is repeated (the original project's network takes 3).
    """

    size: int = 512
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    stride: int = 4
    channels: int = 1


@dataclass(frozen=True)
class Geometry:
    """The position of an image in the square input, in pixels.

    Attributes:
        height, width: the image's own size.
        size: side of the square.
        top, left: the corner of the shrunken image in the square.
        box_height, box_width: size of the shrunken image.
    """

    height: int
    width: int
    size: int
    top: int
    left: int
    box_height: int
    box_width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The rows and columns of the image in the square."""
        return (
            slice(self.top, self.top + self.box_height),
            slice(self.left, self.left + self.box_width),
        )


def letterbox(height: int, width: int, size: int) -> Geometry:
    """Return the geometry that centres an image in a square of ``size`` pixels and keeps its aspect ratio."""
    scale = size / max(height, width)
    box_height, box_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Geometry(height, width, size, (size - box_height) // 2, (size - box_width) // 2, box_height, box_width)


def shrink_image(image: Radiograph | Pixels, geometry: Geometry) -> Pixels:
    """Resize an image to its box, (box_height, box_width), in its own dtype, antialiased if that is smaller."""
    radiograph = image if isinstance(image, Radiograph) else Radiograph(image)
    picture, scale = radiograph.picture, radiograph.scale
    # The last row and column of a JPEG decoded at reduced scale may cover fewer than `scale` pixels of the image, so
    # compute the source box from the image's size and not from the picture's.
    width, height = geometry.width / scale, geometry.height / scale
    size = (geometry.box_width, geometry.box_height)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint16:
        across, down = (
            max(1, int(side / least / REDUCING_GAP)) for side, least in zip((width, height), size, strict=True)
        )
        blocks, box = Image.fromarray(_means(picture, down, across)), (0, 0, width / across, height / down)
        shrunk = np.asarray(blocks.resize(size, Image.Resampling.BILINEAR, box))
        return np.rint(shrunk).astype(np.uint16)
    grey = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR, (0, 0, width, height), REDUCING_GAP))


def _means(pixels: Pixels, down: int, across: int) -> NDArray[np.float32]:
    """Return the means of blocks of ``down`` x ``across`` pixels, as Pillow's reduction does for the modes it supports.

    Pillow cannot reduce uint16. Blocks at the bottom and at the right may be smaller.
    """
    sums = _sums(_sums(pixels, down).T, across).T
    return sums / np.float32(down * across)


def _sums(rows: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return the sums of each ``step`` rows; an incomplete group at the end is scaled up to ``step`` rows."""
    whole = len(rows) // step * step
    sums = rows[:whole:step].astype(np.float32)
    for nth in range(1, step):
        sums += rows[nth:whole:step]
    if whole < len(rows):
        sums = np.concatenate([sums, rows[whole:].mean(0, np.float32, keepdims=True) * np.float32(step)])
    return sums


def clip_range(box: Pixels | NDArray[np.float32], spec: InputSpec) -> tuple[float, float]:
    """Return the greys beyond which a shrunken image is clipped.

    Raises:
        BlankImage: the two are equal.
    """
    sample = box[:: spec.stride, :: spec.stride]
    low, high = np.percentile(sample, (spec.low_percentile, spec.high_percentile))
    if low >= high:
        raise errors.BlankImage("Nearly every pixel of the image has the same grey.")
    return float(low), float(high)


def standardise(box: Pixels | NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Clip a shrunken image to its percentiles, then scale it to mean 0 and standard deviation 1.

    The result does not depend on bit depth, window or exposure if they map greys linearly.

    Args:
        box: (box_height, box_width), any range.

    Raises:
        BlankImage: the percentiles are equal.
    """
    low, high = clip_range(box, spec)
    clipped = np.clip(box.astype(np.float32), np.float32(low), np.float32(high))
    return (clipped - clipped.mean()) / clipped.std()


def paste_box(box: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Return a square, (size, size), with a shrunken image in it; the rest is 0, which is the image's mean grey."""
    square = np.zeros((geometry.size, geometry.size), np.float32)
    square[geometry.box] = box
    return square


def preprocess(image: Radiograph | Pixels, spec: InputSpec) -> tuple[NDArray[np.float32], Geometry]:
    """Return the network's input for an image, (1, channels, size, size) float32, and its geometry.

    Raises:
        BlankImage.
    """
    radiograph = image if isinstance(image, Radiograph) else Radiograph(image)
    geometry = letterbox(radiograph.height, radiograph.width, spec.size)
    square = paste_box(standardise(shrink_image(radiograph, geometry), spec), geometry)
    return np.repeat(square[np.newaxis, np.newaxis], spec.channels, axis=1), geometry
