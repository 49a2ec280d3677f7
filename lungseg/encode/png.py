"""Results as PNG data for programs, at the image's size unless stated otherwise."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lungseg import errors
from lungseg.decode.bounds.png import OWN_KEYWORD, OWN_PROGRAM
from lungseg.decode.radiograph import Pixels
from lungseg.encode.png_file import bits_png, samples_png
from lungseg.pipeline.result import Result

CUTOUT_MARGIN = 0.02
"""Margin around the lungs in a cutout, as a share of the image's longer side: the pleura is on their edge."""


def mask_png(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask (height, width) bool as a 1-bit greyscale PNG, white = lung."""
    return bits_png(np.packbits(mask, axis=1), mask.shape[1])


def labels_png(labels: NDArray[np.uint8]) -> bytes:
    """Return labels (height, width) as an 8-bit PNG: 1 = the patient's right lung, 2 = the left lung, 0 = elsewhere."""
    return own_png(Image.fromarray(labels))


def probability_png(probability: NDArray[np.float32]) -> bytes:
    """Return probabilities (height, width) in [0, 1] as a 16-bit PNG; 65535 is 1."""
    return own_png(Image.fromarray(np.rint(probability * 65535).astype(np.uint16)))


def grey_png(pixels: Pixels) -> bytes:
    """Return an image (height, width) as a greyscale PNG of its own depth, without the mark of an output."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def cutout_png(result: Result) -> bytes:
    """Return the image cropped to the lungs and a margin, as a greyscale PNG of its own depth, bone bright.

    Raises:
        NoLung: there is nothing to crop to.
    """
    x, y, width, height = cutout_box(result)
    return samples_png(result.radiograph.pixels[y : y + height, x : x + width])


def isolated_png(result: Result) -> bytes:
    """Return the lungs alone, at the image's size and depth, bone bright: greys with alpha.

    Lungs have the image's greys and are opaque. All else is transparent, and black below, so that a reader that drops
    alpha gets lungs on black.

    Raises:
        NoLung: there is nothing to isolate.
    """
    left, top, right, bottom = _lung_corners(result)
    lungs = slice(top, bottom), slice(left, right)
    pixels, mask = result.radiograph.pixels, result.mask[lungs]
    # In the file's byte order, which spares a copy.
    samples = np.zeros((*pixels.shape, 2), pixels.dtype.newbyteorder(">"))
    samples[(*lungs, 0)] = pixels[lungs] * mask
    samples[(*lungs, 1)] = mask * pixels.dtype.type(np.iinfo(pixels.dtype).max)
    return samples_png(samples)


def cutout_box(result: Result) -> tuple[int, int, int, int]:
    """Return the position of the cutout in the image: x and y of its top left pixel, width, height.

    Raises:
        NoLung.
    """
    left, top, right, bottom = _lung_corners(result)
    radiograph = result.radiograph
    margin = round(CUTOUT_MARGIN * max(radiograph.height, radiograph.width))
    left, top = max(0, left - margin), max(0, top - margin)
    right, bottom = min(radiograph.width, right + margin), min(radiograph.height, bottom + margin)
    return left, top, right - left, bottom - top


def _lung_corners(result: Result) -> tuple[int, int, int, int]:
    """Return the first column and row of the lungs, and the column and row behind the last.

    Raises:
        NoLung.
    """
    box = Image.fromarray(result.mask.view(np.uint8)).getbbox()
    if box is None:
        raise errors.NoLung("The mask is empty; there is nothing to cut out.")
    return box


def own_png(image: Image.Image, texts: Mapping[str, str] | None = None) -> bytes:
    """Return a picture as a PNG with the mark of this program's outputs.

    Args:
        image: the picture.
        texts: further text chunks, by their keywords.
    """
    chunks = PngInfo()
    for keyword, text in {OWN_KEYWORD: OWN_PROGRAM, **(texts or {})}.items():
        chunks.add_text(keyword, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()
