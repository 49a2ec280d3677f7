"""One small PNG from which the page at `/` draws an image and its lungs at any threshold."""

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
"""Pixels on a side: twice the network's grid, and about the resolution of a screen; 1 MB in all."""


def preview_png(result: Result) -> bytes:
    """Return the image, the probability of lung and the lungs' sides as the channels of an 8-bit RGB PNG.

    All have the image's orientation, reduced to at most MAX_PREVIEW_SIDE pixels on a side and never upsampled.

    Red is the image, bone bright, with the darkest and brightest 0.5 % clipped. Green is the network's probability p,
    not cleaned: floor(256 p), at most 255, so that green > 127 is exactly p >= 0.5. Blue is the lung that a pixel would
    belong to: 1 = the patient's right, 2 = the left.

    The text chunk "document" contains the JSON document.
    """
    radiograph = result.radiograph
    geometry = letterbox(
        radiograph.height, radiograph.width, min(MAX_PREVIEW_SIDE, max(radiograph.height, radiograph.width))
    )
    size = (geometry.box_width, geometry.box_height)
    probability = np.asarray(Image.fromarray(result.raw).resize(size, Image.Resampling.BILINEAR))
    channels = (
        screen_pixels(shrink_image(radiograph.pixels, geometry)),
        np.minimum(probability * 256, 255).astype(np.uint8),
        np.asarray(Image.fromarray(result.sides).resize(size, Image.Resampling.NEAREST)),
    )
    text = json.dumps(document(result), separators=(",", ":"))
    return own_png(Image.fromarray(np.stack(channels, axis=2)), {"document": text})
