"""Upsample from the network's grid to the image's own, which may have a hundred times as many pixels.

The probability is upsampled, bilinearly, and the threshold is applied last: an upsampled mask would have steps.

`upsample_bits` computes only pixels near edges. Along one row of the box, with samples a to e at their centres:

    sample      a       b       c       d       e
    above?      no      no      yes     yes     no
    gap     0   |   1   |   2   |   3   |   4   |   5
    lung    no      no   compute   yes   compute    no

The gaps at the ends (0 and 5) have one neighbour and take its value. First each row of the box is widened like this,
then each column of the image is filled between the widened rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg.model.preprocess import Geometry

Indices = NDArray[np.intp]


def upsample_probability(box: NDArray[np.float32], geometry: Geometry) -> NDArray[np.float32]:
    """Return the probability in an image's box, (box_height, box_width), on the image's grid, (height, width)."""
    return np.asarray(Image.fromarray(box).resize((geometry.width, geometry.height), Image.Resampling.BILINEAR))


def upsample_bits(box: NDArray[np.float32], geometry: Geometry, threshold: float) -> NDArray[np.uint8]:
    """Return ``upsample_probability(box, geometry) > threshold`` in a fraction of its time, eight pixels per byte.

    Between two neighbours in the box the probability is linear. If both are on the same side of the threshold, so is
    everything between them. So only the gaps between samples on different sides need to be computed.

    Returns:
        (height, ceil(width / 8)) uint8, each row packed as by np.packbits.
    """
    height, width = geometry.height, geometry.width
    if height < box.shape[0] or width < box.shape[1]:  # downsampling averages, and there is little to save
        return np.packbits(upsample_probability(box, geometry) > threshold, axis=1)
    bits = np.zeros((height, -(-width // 8)), np.uint8)
    above = box > threshold
    used_rows, used_columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not used_rows.size:
        return bits
    down = _AxisRange.around(used_rows, box.shape[0], height)
    across = _AxisRange.around(used_columns, box.shape[1], width, align=8)
    part = slice(down.start, down.stop), slice(across.start, across.stop)
    box, above = box[part], above[part]

    # Upsample the box's rows to the width of the image.
    wide = np.repeat(_inner_gaps(above.T).T, across.counts, axis=1)
    # np.nonzero on a 2-D array is ten times slower.
    row, gap = np.divmod(np.flatnonzero(above[:, 1:] != above[:, :-1]), above.shape[1] - 1)
    nth, pixel = across.pixels_in(gap + 1)
    wide[row[nth], pixel] = across.interpolate(box, row[nth], pixel) > threshold

    # Upsample the columns to its height.
    window = bits[down.first : down.last, across.first // 8 : -(-across.last // 8)]
    window[:] = np.repeat(_inner_gaps(np.packbits(wide, axis=1)), down.counts, axis=0)
    gap, column = np.divmod(np.flatnonzero(wide[1:] != wide[:-1]), wide.shape[1])
    upper, lower = across.interpolate(box, gap, column), across.interpolate(box, gap + 1, column)
    nth, pixel = down.pixels_in(gap + 1)
    share, column = down.share[pixel], column[nth]
    lung = (upper[nth] * (1 - share) + lower[nth] * share).astype(np.float32) > threshold
    byte, bit = (across.first + column[lung]) // 8, (across.first + column[lung]) % 8
    np.bitwise_or.at(bits, (down.first + pixel[lung], byte), (128 >> bit).astype(np.uint8))
    return bits


def _inner_gaps(above: NDArray[Any]) -> NDArray[Any]:
    """Return which gaps between rows have both neighbours set, (rows + 1, columns); the end gaps have one neighbour."""
    return np.concatenate([above[:1], above[1:] & above[:-1], above[-1:]])


@dataclass(frozen=True)
class _AxisRange:
    """A range of the box along one axis, and the range of the image that it covers.

    Gap g is between samples g - 1 and g of the range; the first and the last gap have only one neighbour. Samples and
    pixels are located by their centres.

    Attributes:
        start, stop: the range in the box.
        first, last: the range in the image.
        gap: the gap of each pixel.
        share: each pixel's position from the sample before it (0) to the one after it (1).
        counts: the number of pixels in each gap.
    """

    start: int
    stop: int
    first: int
    last: int
    gap: Indices
    share: NDArray[np.float64]
    counts: Indices

    @classmethod
    def around(cls, used: Indices, samples: int, length: int, align: int = 1) -> _AxisRange:
        """Return the range around the used samples, with one more sample at each end.

        Args:
            used: indices, at least one, ascending.
            samples: number of samples along the box.
            length: number of pixels along the image.
            align: ``first`` is a multiple of it.
        """
        start, stop = max(0, int(used[0]) - 1), min(samples, int(used[-1]) + 2)
        first = start * length // samples // align * align
        last = -(-stop * length // samples)
        position = (np.arange(first, last) + 0.5) * (samples / length) - 0.5 - start
        gap = np.clip(np.floor(position).astype(np.intp) + 1, 0, stop - start)
        counts = np.bincount(gap, minlength=stop - start + 1)
        return cls(start, stop, first, last, gap, position + 1 - gap, counts)

    def pixels_in(self, gaps: Indices) -> tuple[Indices, Indices]:
        """Return all pixels in ``gaps``: for each the index of its gap in ``gaps``, and its own index."""
        counts = self.counts[gaps]
        nth = np.repeat(np.arange(len(gaps)), counts)
        offset = np.arange(len(nth)) - (np.cumsum(counts) - counts)[nth]
        return nth, (np.cumsum(self.counts) - self.counts)[gaps][nth] + offset

    def interpolate(self, box: NDArray[np.float32], row: Indices, pixel: Indices) -> NDArray[np.float32]:
        """Return the probability in rows of the box, at pixels along them."""
        gap, share = self.gap[pixel], self.share[pixel]
        left, right = np.maximum(gap - 1, 0), np.minimum(gap, box.shape[1] - 1)
        return (box[row, left] * (1 - share) + box[row, right] * share).astype(np.float32)
