"""What a program needs to draw an image and its lungs at any threshold, as one small PNG: the page at `/` lives on it."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from lungseg.encode.document import document
from lungseg.encode.overlay import screen_pixels
from lungseg.encode.png import own_png
from lungseg.model.preprocess import letterbox, shrink_image
from lungseg.pipeline.result import Result

MAX_PREVIEW_SIDE = 1024
"""Pixels a side at most: twice the network's grid, and what a screen shows of an image; 1 MB in all."""


def preview_png(result: Result) -> bytes:
    """The image, lung's probability and the lungs' sides as the three channels of an 8-bit RGB PNG.

    Each is the image as it lies, shrunk to at most SIDE pixels a side and never enlarged.

    Red is the image, bone bright, its darkest and brightest half percent clipped. Green is the probability p that the
    network gave, not cleaned: the whole part of 256 p, at most 255, so that green > 127 is p >= 0.5 to the pixel. Blue
    says which lung a pixel would belong to if it were lung: 1 the patient's right, 2 the left.

    The text chunk "document" holds what `format=json` answers.
    """
    film = result.radiograph
    geometry = letterbox(film.height, film.width, min(MAX_PREVIEW_SIDE, max(film.height, film.width)))
    size = (geometry.box_width, geometry.box_height)
    probability = np.asarray(Image.fromarray(result.raw).resize(size, Image.Resampling.BILINEAR))
    channels = (
        screen_pixels(shrink_image(film.pixels, geometry)),
        np.minimum(probability * 256, 255).astype(np.uint8),
        np.asarray(Image.fromarray(result.sides).resize(size, Image.Resampling.NEAREST)),
    )
    text = json.dumps(document(result), separators=(",", ":"))
    return own_png(Image.fromarray(np.stack(channels, axis=2)), {"document": text})
