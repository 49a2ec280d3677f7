"""The image with the lungs tinted and outlined: a picture to look at, not data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from lungseg.decode.radiograph import Pixels
from lungseg.encode.png import own_png

TINT = (0, 140, 255)
OUTLINE = (255, 210, 0)
TINT_SHARE = 0.22
OUTLINE_SHARE = 1 / 500
"""Width of the outline as a share of the longer side: about 2 pixels on a screen."""


def draw_overlay(pixels: Pixels, mask: NDArray[np.bool_]) -> Image.Image:
    """Draw a mask over its image.

    Args:
        pixels: (height, width) uint8 or uint16.
        mask: (height, width) bool, True = lung.

    Returns:
        An RGB picture of the image's size, with the darkest and brightest 0.5 % of the pixels clipped.
    """
    picture = np.repeat(screen_pixels(pixels)[..., np.newaxis], 3, axis=2)
    lungs = picture[mask]
    picture[mask] = lungs + (TINT_SHARE * (np.array(TINT) - lungs)).astype(np.int16)
    picture[_outline(mask)] = OUTLINE
    return Image.fromarray(picture)


def overlay_png(pixels: Pixels, mask: NDArray[np.bool_]) -> bytes:
    """Return `draw_overlay` as a PNG."""
    return own_png(draw_overlay(pixels, mask))


def screen_pixels(pixels: Pixels) -> NDArray[np.uint8]:
    """Return an image as 8 bits for a screen, with the darkest and brightest 0.5 % of the pixels clipped."""
    low, high = np.percentile(pixels[::4, ::4], (0.5, 99.5))
    scaled = (pixels.astype(np.float32) - low) * (255 / max(high - low, 1))
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the mask's inner edge: lung pixels whose box blur is below 1, with a non-lung pixel within the radius."""
    radius = max(1, round(max(mask.shape) * OUTLINE_SHARE / 2))
    blurred = Image.fromarray(mask.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(radius))
    return mask & (np.asarray(blurred) < 255)
