"""Viewports: the part of a picture that the view network sees, and its distortion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_export.data.arrays import FloatImage
from model_export.view.pictures import Random, shuffle_blocks


@dataclass
class Viewport:
    """The visible part of a picture, and its distortion.

    Attributes:
        angle: radians.
        extent: visible (rows, columns) relative to the picture's; above 1 there is a frame around it.
        shift: (rows, columns) from the picture's centre, in units of half its sides.
        shear: columns per row.
        squash: factor by which it is widened.
    """

    angle: float
    extent: tuple[float, float]
    shift: tuple[float, float]
    shear: float = 0.0
    squash: float = 1.0


def draw_image_viewport(random: Random) -> Viewport:
    """Draw a viewport on a whole image, slightly rotated, cropped or squashed; sometimes with a wide frame."""
    extent = random.uniform(0.8, 1.25) if random.random() < 0.85 else random.uniform(1.25, 1.8)
    play = 0.12 if random.random() < 0.8 else 0.25
    tilt = 12 if random.random() < 0.85 else 25
    return Viewport(
        angle=float(np.radians(random.uniform(-tilt, tilt))),
        extent=(extent * random.uniform(0.92, 1.08), extent * random.uniform(0.92, 1.08)),
        shift=(random.uniform(-play, play), random.uniform(-play, play)),
        shear=random.uniform(-0.08, 0.08),
        squash=float(np.exp(random.uniform(-0.25, 0.25))),
    )


def draw_other_viewport(random: Random) -> Viewport:
    """Draw a viewport on any part of a picture, with strong distortion."""
    extent = random.uniform(0.45, 1.3)
    free = max(0.15, 1 - extent)
    return Viewport(
        angle=float(np.radians(random.uniform(-30, 30))),
        extent=(extent * random.uniform(0.85, 1.15), extent * random.uniform(0.85, 1.15)),
        shift=(random.uniform(-free, free), random.uniform(-free, free)),
        shear=random.uniform(-0.2, 0.2),
        squash=float(np.exp(random.uniform(-0.35, 0.35))),
    )


def spoil_image(image: FloatImage, random: Random) -> tuple[FloatImage, Viewport]:
    """Spoil a frontal image so that it should be rejected: 5 kinds, equally often."""
    kind = random.integers(5)
    look = draw_image_viewport(random)
    if kind == 0:  # a quarter of the image or less
        extent = random.uniform(0.15, 0.45)
        free = 1 - extent
        look.extent = (extent, extent * random.uniform(0.8, 1.1))
        look.shift = (random.uniform(-free, free), random.uniform(-free, free))
    elif kind == 1:  # one half, stretched or not
        side = random.choice([-1, 1])
        look.extent = (random.uniform(0.8, 1.1), random.uniform(0.38, 0.5))
        look.shift = (random.uniform(-0.1, 0.1), side * random.uniform(0.48, 0.6))
        look.squash = random.uniform(1, 2)
    elif kind == 2:  # squeezed
        look.squash = random.uniform(2.3, 4) ** random.choice([-1, 1])
    elif kind == 3:  # sheared
        look.shear = random.uniform(0.7, 1.5) * random.choice([-1, 1])
    else:
        return shuffle_blocks(image, random), look
    return image, look
