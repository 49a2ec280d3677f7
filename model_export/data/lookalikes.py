"""Images that look like one another in different splits or sets: a copy of a held-out image must not be trained on.

Public collections copy from each other, under other ids and patient numbers, in other sizes and as negatives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.data.index import Index, IndexRow

THUMBNAIL_SIDE = 32
"""Pixels of a thumbnail's side."""

MIN_COPY_CORRELATION = 0.98
"""Of two thumbnails that are taken for one image. No two patients of 2,538 radiographs of 6 sets reach 0.98. Copies in
another size or file format reach 0.999, copies of another contrast (gamma 0.7 to 1.4) 0.98. Cropped copies do not: 2 %
off each side leave 0.97, 4 % leave 0.90, so this finds copies and does not prove that there are none."""

IMAGES_PER_BLOCK = 1000
"""Images compared with all others at a time, so that memory grows with their number, not with its square."""


def find_lookalikes(index: Index) -> list[tuple[IndexRow, IndexRow]]:
    """Return the pairs that may be one image, of different sets or splits, those most alike first."""
    rows = index.rows
    thumbnails = (
        np.stack([_thumbnail(index, row) for row in rows]) if rows else np.zeros((0, THUMBNAIL_SIDE**2), np.float32)
    )
    groups = np.unique([f"{row.source} {row.split}" for row in rows], return_inverse=True)[1]
    found = []
    for start in range(0, len(rows), IMAGES_PER_BLOCK):
        # Either sign: a negative is the same image.
        alike = np.abs(thumbnails[start : start + IMAGES_PER_BLOCK] @ thumbnails.T)
        apart = groups[start : start + IMAGES_PER_BLOCK, np.newaxis] != groups
        for one, other in np.argwhere((alike > MIN_COPY_CORRELATION) & apart):
            if start + one < other:
                found.append((float(alike[one, other]), int(start + one), int(other)))
    return [(rows[one], rows[other]) for _, one, other in sorted(found, reverse=True)]


def _thumbnail(index: Index, row: IndexRow) -> NDArray[np.float32]:
    """The image without the square's border, SIDE x SIDE, as a vector of mean 0 and length 1."""
    with Image.open(index.folder / "images" / f"{row.id}.png") as image:
        box = (row.left, row.top, row.left + row.box_width, row.top + row.box_height)
        small = np.asarray(
            image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX, box), np.float32
        ).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
