"""From the network's grid to the image's own, which may be a hundred times larger.

It is the probability that is resized, bilinear, and the mask is made last: a resized mask has stairs.
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
    """Bring an image's part of a probability map, (box_height, box_width), to its own grid, (height, width)."""
    return np.asarray(Image.fromarray(box).resize((geometry.width, geometry.height), Image.Resampling.BILINEAR))


def upsample_bits(box: NDArray[np.float32], geometry: Geometry, threshold: float) -> NDArray[np.uint8]:
    """``enlarge(box, geometry) > threshold`` for a fraction of its time, eight pixels a byte.

    Between two neighbours in the box the probability runs straight. Where both lie on the same side of the threshold,
    so does all that is between them: only near edges is it worth computing, along the box's rows and then between them.

    Returns:
        (height, ceil(width / 8)) uint8, each row as np.packbits gives it.
    """
    height, width = geometry.height, geometry.width
    if height < box.shape[0] or width < box.shape[1]:  # resizing averages here, and little is to be saved
        return np.packbits(upsample_probability(box, geometry) > threshold, axis=1)
    bits = np.zeros((height, -(-width // 8)), np.uint8)
    above = box > threshold
    used_rows, used_columns = np.flatnonzero(above.any(1)), np.flatnonzero(above.any(0))
    if not used_rows.size:
        return bits
    down = _Axis.around(used_rows, box.shape[0], height)
    across = _Axis.around(used_columns, box.shape[1], width, align=8)
    part = slice(down.start, down.stop), slice(across.start, across.stop)
    box, above = box[part], above[part]

    # The box's rows, as wide as the image.
    wide = np.repeat(_both(above.T).T, across.counts, axis=1)
    # np.nonzero is ten times slower in two axes.
    row, gap = np.divmod(np.flatnonzero(above[:, 1:] != above[:, :-1]), above.shape[1] - 1)
    which, place = across.places(gap + 1)
    wide[row[which], place] = across.between(box, row[which], place) > threshold

    # And as high.
    window = bits[down.first : down.last, across.first // 8 : -(-across.last // 8)]
    window[:] = np.repeat(_both(np.packbits(wide, axis=1)), down.counts, axis=0)
    gap, column = np.divmod(np.flatnonzero(wide[1:] != wide[:-1]), wide.shape[1])
    upper, lower = across.between(box, gap, column), across.between(box, gap + 1, column)
    which, place = down.places(gap + 1)
    share, column = down.share[place], column[which]
    lung = (upper[which] * (1 - share) + lower[which] * share).astype(np.float32) > threshold
    byte, bit = (across.first + column[lung]) // 8, (across.first + column[lung]) % 8
    np.bitwise_or.at(bits, (down.first + place[lung], byte), (128 >> bit).astype(np.uint8))
    return bits


def _both(above: NDArray[Any]) -> NDArray[Any]:
    """What is set in a row and in the next, (rows + 1, columns): before the first and behind the last it is theirs."""
    return np.concatenate([above[:1], above[1:] & above[:-1], above[-1:]])


@dataclass(frozen=True)
class _Axis:
    """A stretch of the box along one axis, and that of the image which it covers.

    Gap g is what lies between the stretch's samples g - 1 and g; the first and the last have only one neighbour.
    Samples and pixels are meant by their centres.

    Attributes:
        start, stop: in the box.
        first, last: in the image.
        gap: for each of the image's pixels, the gap that it is in.
        share: how far it is from the sample before it (0) to the one behind it (1).
        counts: the pixels in each gap.
    """

    start: int
    stop: int
    first: int
    last: int
    gap: Indices
    share: NDArray[np.float64]
    counts: Indices

    @classmethod
    def around(cls, used: Indices, samples: int, length: int, align: int = 1) -> _Axis:
        """Around the samples that are used, with one more at each end.

        Args:
            used: at least one, ascending.
            samples: along the box.
            length: the image's pixels along this axis.
            align: ``first`` is a multiple of it.
        """
        start, stop = max(0, int(used[0]) - 1), min(samples, int(used[-1]) + 2)
        first = start * length // samples // align * align
        last = -(-stop * length // samples)
        place = (np.arange(first, last) + 0.5) * (samples / length) - 0.5 - start
        gap = np.clip(np.floor(place).astype(np.intp) + 1, 0, stop - start)
        counts = np.bincount(gap, minlength=stop - start + 1)
        return cls(start, stop, first, last, gap, place + 1 - gap, counts)

    def places(self, gaps: Indices) -> tuple[Indices, Indices]:
        """All pixels in some gaps: for each the index of its gap in ``gaps``, and its own place."""
        counts = self.counts[gaps]
        which = np.repeat(np.arange(len(gaps)), counts)
        ends = np.cumsum(counts)
        nth = np.arange(len(which)) - (ends - counts)[which]
        return which, (np.cumsum(self.counts) - self.counts)[gaps][which] + nth

    def between(self, box: NDArray[np.float32], row: Indices, place: Indices) -> NDArray[np.float32]:
        """The probability in some rows of the box at some pixels along them."""
        gap, share = self.gap[place], self.share[place]
        left, right = np.maximum(gap - 1, 0), np.minimum(gap, box.shape[1] - 1)
        return (box[row, left] * (1 - share) + box[row, right] * share).astype(np.float32)
