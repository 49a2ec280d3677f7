"""Read the pictures that the view network learns from: prepared images and other pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungseg import errors
from lungseg.decode import decode
from lungseg.decode.radiograph import Pixels
from lungseg.model.preprocess import InputSpec, clip_range, letterbox, shrink_image
from model_export.data.arrays import FloatImage
from model_export.data.index import Index, IndexRow, read_square

PICTURE_SIDE = 192
"""Longer side of stored pictures, in pixels; the network sees 128 of them."""


Random = np.random.Generator


@dataclass(frozen=True)
class Picture:
    """A picture whose longer side has PICTURE_SIDE pixels.

    Attributes:
        box: (height, width) float32 in [0, 1].
        group: its origin: "images", "made" or the name of a folder.
    """

    box: FloatImage
    group: str


def read_image_pictures(index: Index, rows: list[IndexRow]) -> list[Picture]:
    """Read prepared images as pictures."""
    pictures = []
    for row in rows:
        pixels = read_square(index, "images", row)[row.geometry(index.size).box]
        pictures.append(Picture(_kept(pixels), "images"))
    return pictures


def read_lung_masks(index: Index, rows: list[IndexRow]) -> list[NDArray[np.bool_]]:
    """Read the masks of prepared images, (height, width) bool each, with a longer side of PICTURE_SIDE."""
    masks = []
    for row in rows:
        mask = read_square(index, "masks", row)[row.geometry(index.size).box]
        height, width = mask.shape
        masks.append(shrink_image(mask.astype(np.uint8) * 255, letterbox(height, width, PICTURE_SIDE)) > 127)
    return masks


def read_other_pictures(folders: list[Path]) -> tuple[list[Picture], int]:
    """Read all pictures below ``folders``; return them and the number of files that `segment` would reject.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: a folder has no readable picture.
    """
    pictures: list[Picture] = []
    refused = 0
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        before = len(pictures)
        for path in tqdm(files, desc=folder.name, unit="picture", leave=False):
            try:
                pictures.append(Picture(_kept(decode(path.read_bytes()).pixels), folder.name))
            except errors.ProblemError:
                refused += 1
        if len(pictures) == before:
            raise ValueError(f"{folder} has no readable picture")
    return pictures, refused


def shuffle_blocks(box: FloatImage, random: Random) -> FloatImage:
    """Cut a picture into 2 x 2 or 3 x 3 blocks and shuffle them."""
    parts = int(random.integers(2, 4))
    height, width = box.shape[0] // parts, box.shape[1] // parts
    order = random.permutation(parts * parts)
    while (order == np.arange(parts * parts)).mean() > 0.3:
        order = random.permutation(parts * parts)
    blocks = [
        box[row * height : (row + 1) * height, column * width : (column + 1) * width]
        for row, column in (divmod(int(place), parts) for place in order)
    ]
    return np.block([blocks[row * parts : (row + 1) * parts] for row in range(parts)])


def _kept(pixels: Pixels) -> FloatImage:
    """Shrink a picture and scale its greys to the range that serving clips to.

    Raises:
        BlankImage: it has a single grey.
    """
    height, width = pixels.shape
    box = shrink_image(pixels, letterbox(height, width, PICTURE_SIDE))
    low, high = clip_range(box, InputSpec())
    return ((box.astype(np.float32).clip(low, high) - low) / (high - low)).astype(np.float32)
