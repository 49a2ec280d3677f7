"""Degrade images until masks fail, so that `expect` has failing masks to fit.

The changes are harsher than training's own (`data.sickness`, `data.augment`), to which the network is robust.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_export.data.arrays import FloatImage, MaskArray
from model_export.data.sickness import ImageChange, add_effusion, add_opacities, add_white_lung


def worsen_image(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> tuple[FloatImage, tuple[str, ...]]:
    """Return an image with one to three of WORSENING_CHANGES, clipped to [0, 1], and their names."""
    names = tuple(str(name) for name in random.permutation(list(WORSENING_CHANGES))[: random.integers(1, 4)])
    for name in names:
        image = np.clip(WORSENING_CHANGES[name](image, mask, random), 0, 1).astype(np.float32)
    return image, names


def _noise(image: FloatImage, _: MaskArray, random: np.random.Generator) -> FloatImage:
    """Add noise of up to 25 % of the range."""
    return np.asarray(image + random.normal(0, random.uniform(0.05, 0.25), image.shape), np.float32)


def _gamma(image: FloatImage, _: MaskArray, random: np.random.Generator) -> FloatImage:
    return np.asarray(image ** np.exp(random.uniform(-1.3, 1.3)))


def _slope(image: FloatImage, _: MaskArray, random: np.random.Generator) -> FloatImage:
    """Add an exposure gradient from side to side, beyond the range."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    angle = random.uniform(0, 2 * np.pi)
    along = (columns / image.shape[1] - 0.5) * np.cos(angle) + (rows / image.shape[0] - 0.5) * np.sin(angle)
    return image + along * random.uniform(0.8, 2.5)


def _blur(image: FloatImage, _: MaskArray, random: np.random.Generator) -> FloatImage:
    return np.asarray(ndimage.gaussian_filter(image, random.uniform(2, 8)))


def _plates(image: FloatImage, _: MaskArray, random: np.random.Generator) -> FloatImage:
    """Draw one to three bright rectangles, each of up to 18 % of the image."""
    image = image.copy()
    height, width = image.shape
    for _number in range(random.integers(1, 4)):
        rows, columns = int(height * random.uniform(0.1, 0.45)), int(width * random.uniform(0.1, 0.4))
        top, left = random.integers(0, height - rows), random.integers(0, width - columns)
        image[top : top + rows, left : left + columns] = random.uniform(0.5, 1)
    return image


WORSENING_CHANGES: dict[str, ImageChange] = {
    "white lung": add_white_lung,
    "effusion": add_effusion,
    "opacities": add_opacities,
    "noise": _noise,
    "gamma": _gamma,
    "slope": _slope,
    "blur": _blur,
    "plates": _plates,
}
