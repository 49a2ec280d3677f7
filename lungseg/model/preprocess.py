"""From an image to the network's input: the one truth for training and serving. `enlarge` is the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors
from lungseg.decode.radiograph import Pixels, Radiograph

REDUCING_GAP = 2.0
"""An image is first reduced by blocks to no less than so many times its size in the network's input, then resized."""


@dataclass(frozen=True)
class InputSpec:
    """What the network was trained on; it travels in the ONNX file.

    Attributes:
        size: side of the square input, in pixels.
        low_percentile, high_percentile: greys beyond them are clipped (letters, markers, metal).
        stride: the percentiles are taken from every stride-th pixel of the shrunken image.
        channels: how often the one grey channel is repeated (the author's network takes 3).
    """

    size: int = 512
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    stride: int = 4
    channels: int = 1


@dataclass(frozen=True)
class Geometry:
    """Where an image lies in the square: shrunk to ``box_height`` x ``box_width``, its corner at (``top``, ``left``)."""

    height: int
    width: int
    size: int
    top: int
    left: int
    box_height: int
    box_width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The image's rows and columns in the square."""
        return (
            slice(self.top, self.top + self.box_height),
            slice(self.left, self.left + self.box_width),
        )


def letterbox(height: int, width: int, size: int) -> Geometry:
    """The geometry that fits an image into a square of ``size`` pixels, centred, its aspect kept."""
    scale = size / max(height, width)
    box_height, box_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Geometry(height, width, size, (size - box_height) // 2, (size - box_width) // 2, box_height, box_width)


def shrink_image(film: Radiograph | Pixels, geometry: Geometry) -> Pixels:
    """Resize an image to its box, (box_height, box_width), in its own dtype; antialiased when it gets smaller."""
    radiograph = film if isinstance(film, Radiograph) else Radiograph(film)
    picture, scale = radiograph.picture, radiograph.scale
    # A picture's last pixels may stand for less than `scale` of the image's, so its own size will not do.
    width, height = geometry.width / scale, geometry.height / scale
    size = (geometry.box_width, geometry.box_height)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint16:
        across, down = (
            max(1, int(side / least / REDUCING_GAP)) for side, least in zip((width, height), size, strict=True)
        )
        blocks, box = Image.fromarray(_means(picture, down, across)), (0, 0, width / across, height / down)
        shrunk = np.asarray(blocks.resize(size, Image.Resampling.BILINEAR, box))
        return np.rint(shrunk).astype(np.uint16)
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, (0, 0, width, height), REDUCING_GAP))


def _means(pixels: Pixels, down: int, across: int) -> NDArray[np.float32]:
    """The means of blocks of ``down`` x ``across`` pixels, as Pillow's own reduction gives them, which knows no uint16.

    Blocks at the bottom and the right may be smaller.
    """
    sums = _sums(_sums(pixels, down).T, across).T
    return sums / np.float32(down * across)


def _sums(rows: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Each ``step`` rows added up; fewer rows at the end count as if they were as many."""
    whole = len(rows) // step * step
    sums = rows[:whole:step].astype(np.float32)
    for nth in range(1, step):
        sums += rows[nth:whole:step]
    if whole < len(rows):
        sums = np.concatenate([sums, rows[whole:].mean(0, np.float32, keepdims=True) * np.float32(step)])
    return sums


def clip_range(box: Pixels | NDArray[np.float32], spec: InputSpec) -> tuple[float, float]:
    """The greys of a shrunken image beyond which it is clipped.

    Raises:
        BlankImage: they coincide.
    """
    sample = box[:: spec.stride, :: spec.stride]
    low, high = np.percentile(sample, (spec.low_percentile, spec.high_percentile))
    if low >= high:
        raise errors.BlankImage("Nearly every pixel of the image has the same grey.")
    return float(low), float(high)


def standardise(box: Pixels | NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Clip a shrunken image to its percentiles, then shift and scale it to mean 0 and standard deviation 1.

    The result does not depend on bit depth, window or exposure as long as they map greys linearly.

    Args:
        box: (box_height, box_width), any range.

    Raises:
        BlankImage: the percentiles coincide.
    """
    low, high = clip_range(box, spec)
    clipped = np.clip(box.astype(np.float32), np.float32(low), np.float32(high))
    return (clipped - clipped.mean()) / clipped.std()


def paste_box(box: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Lay a shrunken image into the square, (size, size); around it is 0, the image's mean grey."""
    square = np.zeros((geometry.size, geometry.size), np.float32)
    square[geometry.box] = box
    return square


def preprocess(film: Radiograph | Pixels, spec: InputSpec) -> tuple[NDArray[np.float32], Geometry]:
    """The network's input for an image, (1, channels, size, size) float32, and the way back.

    Raises:
        BlankImage.
    """
    radiograph = film if isinstance(film, Radiograph) else Radiograph(film)
    geometry = letterbox(radiograph.height, radiograph.width, spec.size)
    square = paste_box(standardise(shrink_image(radiograph, geometry), spec), geometry)
    return np.repeat(square[np.newaxis, np.newaxis], spec.channels, axis=1), geometry
