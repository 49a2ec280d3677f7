"""From a film to the network's input and back to the film's own grid: the one truth for training and serving."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app import errors
from app.decode.radiograph import Pixels, Radiograph


@dataclass(frozen=True)
class InputSpec:
    """What the network was trained on; it travels in the ONNX file.

    Attributes:
        size: side of the square input, in pixels.
        low_percentile, high_percentile: greys beyond them are clipped (letters, markers, metal).
        stride: the percentiles are taken from every stride-th pixel of the shrunken film.
        channels: how often the one grey channel is repeated (the author's network takes 3).
    """

    size: int = 512
    low_percentile: float = 0.5
    high_percentile: float = 99.5
    stride: int = 4
    channels: int = 1


@dataclass(frozen=True)
class Geometry:
    """Where a film lies in the square: shrunk to ``box_height`` x ``box_width``, its corner at (``top``, ``left``)."""

    height: int
    width: int
    size: int
    top: int
    left: int
    box_height: int
    box_width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The film's rows and columns in the square."""
        return (
            slice(self.top, self.top + self.box_height),
            slice(self.left, self.left + self.box_width),
        )


def letterbox(height: int, width: int, size: int) -> Geometry:
    """The geometry that fits a film into a square of ``size`` pixels, centred, its aspect kept."""
    scale = size / max(height, width)
    box_height, box_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Geometry(height, width, size, (size - box_height) // 2, (size - box_width) // 2, box_height, box_width)


def shrink(film: Radiograph | Pixels, geometry: Geometry) -> Pixels:
    """Resize a film to its box, (box_height, box_width), in its own dtype; antialiased when it gets smaller."""
    radiograph = film if isinstance(film, Radiograph) else Radiograph(film)
    picture, scale = radiograph.picture, radiograph.scale
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    # Pillow's fast two-step reduction knows 8-bit pictures only.
    gap = 2.0 if image.mode == "L" else None
    # A picture's last pixels may stand for less than `scale` of the film's, so its own size will not do.
    box = (0, 0, geometry.width / scale, geometry.height / scale)
    size = (geometry.box_width, geometry.box_height)
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR, box, gap))


def clip_range(box: Pixels | NDArray[np.float32], spec: InputSpec) -> tuple[float, float]:
    """The greys of a shrunken film beyond which it is clipped.

    Raises:
        BlankFilm: they coincide.
    """
    sample = box[:: spec.stride, :: spec.stride]
    low, high = np.percentile(sample, (spec.low_percentile, spec.high_percentile))
    if low >= high:
        raise errors.BlankFilm("Nearly every pixel of the film has the same grey.")
    return float(low), float(high)


def standardise(box: Pixels | NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """Clip a shrunken film to its percentiles, then shift and scale it to mean 0 and standard deviation 1.

    The result does not depend on bit depth, window or exposure as long as they map greys linearly.

    Args:
        box: (box_height, box_width), any range.

    Raises:
        BlankFilm: the percentiles coincide.
    """
    low, high = clip_range(box, spec)
    clipped = np.clip(box.astype(np.float32), np.float32(low), np.float32(high))
    return (clipped - clipped.mean()) / clipped.std()


def place(box: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Lay a shrunken film into the square, (size, size); around it is 0, the film's mean grey."""
    square = np.zeros((geometry.size, geometry.size), np.float32)
    square[geometry.box] = box
    return square


def preprocess(film: Radiograph | Pixels, spec: InputSpec) -> tuple[NDArray[np.float32], Geometry]:
    """The network's input for a film, (1, channels, size, size) float32, and the way back.

    Raises:
        BlankFilm.
    """
    radiograph = film if isinstance(film, Radiograph) else Radiograph(film)
    geometry = letterbox(radiograph.height, radiograph.width, spec.size)
    square = place(standardise(shrink(radiograph, geometry), spec), geometry)
    return np.repeat(square[np.newaxis, np.newaxis], spec.channels, axis=1), geometry


def enlarge(box: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Bring a film's part of a probability map, (box_height, box_width), to its own grid, (height, width), bilinear.

    It is the probability that is resized, never the mask: a resized mask has stairs.
    """
    return np.asarray(Image.fromarray(box).resize((geometry.width, geometry.height), Image.Resampling.BILINEAR))


def enlarge_mask(box: NDArray[np.float32], geometry: Geometry, threshold: float) -> NDArray[np.bool_]:
    """``enlarge(box, geometry) > threshold``, (height, width), for a fraction of its time.

    Between two rows of the box the probability runs straight. Where both lie on the same side of the threshold, so does
    all that is between them; only near edges is it worth computing.
    """
    (height, width), (rows, columns) = (geometry.height, geometry.width), box.shape
    if height < rows:  # a film smaller than the network's input: resizing averages, and little is to be saved
        return enlarge(box, geometry) > threshold
    mask = np.zeros((height, width), np.bool_)
    above = box > threshold
    used = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not used[0].size:
        return mask
    # A window around all that is above, one row and column wider: in the box, and on the film's grid.
    (top, left), (bottom, right) = (max(0, each[0] - 1) for each in used), (each[-1] + 2 for each in used)
    bottom, right = min(bottom, rows), min(right, columns)
    first_row, last_row = top * height // rows, -(-bottom * height // rows)
    first_column, last_column = left * width // columns, -(-right * width // columns)
    part = (first_column * columns / width, 0, last_column * columns / width, bottom - top)
    size = (last_column - first_column, bottom - top)
    wide = np.asarray(Image.fromarray(box[top:bottom]).resize(size, Image.Resampling.BILINEAR, part))

    above = wide > threshold
    # Where the film's rows lie between the window's: gap g is the one before row g. Pixels' centres are at halves.
    place = (np.arange(first_row, last_row) + 0.5) * (rows / height) - 0.5 - top
    gap = np.clip(np.floor(place).astype(np.intp) + 1, 0, len(wide))
    share = (place + 1 - gap).astype(np.float32)
    counts = np.bincount(gap, minlength=len(wide) + 1)
    starts = np.cumsum(counts) - counts
    over, under = np.concatenate([above[:1], above]), np.concatenate([above, above[-1:]])
    window = mask[first_row:last_row, first_column:last_column]
    window[:] = np.repeat(over & under, counts, axis=0)
    # Never before the first row or behind the last: there both are one. (np.nonzero is ten times slower in two axes.)
    gaps, places = np.divmod(np.flatnonzero(over != under), over.shape[1])
    first, second = wide[gaps - 1, places], wide[np.minimum(gaps, len(wide) - 1), places]
    for step in range(counts.max()):
        here = step < counts[gaps]
        row = starts[gaps[here]] + step
        window[row, places[here]] = first[here] * (1 - share[row]) + second[here] * share[row] > threshold
    return mask
