"""Find copies of an image in other splits or sets: a copy of a held-out image must not be trained on.

Public collections copy from each other, with other ids and patient numbers, resized and inverted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.data.index import Index, IndexRow

THUMBNAIL_SIDE = 32
"""Side of a thumbnail, in pixels."""

MIN_COPY_CORRELATION = 0.98
"""Correlation from which two thumbnails count as one image. No two patients of 2,538 radiographs of 6 sets reach
0.98. Copies in another size or file format reach 0.999, copies with another contrast (gamma 0.7 to 1.4) 0.98. Cropped
copies do not: 2 % off each side leaves 0.97, 4 % leaves 0.90. So this finds copies but cannot exclude them."""

IMAGES_PER_BLOCK = 1000
"""Images compared with all others at once, so that memory grows linearly with their number."""


def find_lookalikes(index: Index) -> list[tuple[IndexRow, IndexRow]]:
    """Return the pairs from different sets or splits that may be one image, most similar first."""
    rows = index.rows
    thumbnails = (
        np.stack([_thumbnail(index, row) for row in rows]) if rows else np.zeros((0, THUMBNAIL_SIDE**2), np.float32)
    )
    groups = np.unique([f"{row.source} {row.split}" for row in rows], return_inverse=True)[1]
    found = []
    for start in range(0, len(rows), IMAGES_PER_BLOCK):
        # Of either sign: an inverted copy correlates negatively.
        alike = np.abs(thumbnails[start : start + IMAGES_PER_BLOCK] @ thumbnails.T)
        apart = groups[start : start + IMAGES_PER_BLOCK, np.newaxis] != groups
        for one, other in np.argwhere((alike > MIN_COPY_CORRELATION) & apart):
            if start + one < other:
                found.append((float(alike[one, other]), int(start + one), int(other)))
    return [(rows[one], rows[other]) for _, one, other in sorted(found, reverse=True)]


def _thumbnail(index: Index, row: IndexRow) -> NDArray[np.float32]:
    """Return a thumbnail of the image without the square's border, as a vector of mean 0 and length 1."""
    with Image.open(index.folder / "images" / f"{row.id}.png") as image:
        box = (row.left, row.top, row.left + row.box_width, row.top + row.box_height)
        small = np.asarray(
            image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX, box), np.float32
        ).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)
