"""The preview that the page draws from."""

from __future__ import annotations

import io
import json

import numpy as np
from films import dice, dicom
from numpy.typing import NDArray
from PIL import Image

from lungseg.encode.document import document
from lungseg.encode.preview import MAX_PREVIEW_SIDE, preview_png
from lungseg.pipeline.segment import segment


def test_preview_holds_image_probability_sides_and_document(rg1: bytes) -> None:
    result = segment(rg1)
    with Image.open(io.BytesIO(preview_png(result))) as image:
        facts = json.loads(image.text["document"])
        grey, probability, side = np.moveaxis(np.asarray(image), 2, 0)
    assert max(grey.shape) == MAX_PREVIEW_SIDE
    assert facts == json.loads(json.dumps(document(result)))
    assert (grey.min(), grey.max()) == (0, 255)
    assert set(np.unique(side)) == {1, 2}
    size = (grey.shape[1], grey.shape[0])
    labels = np.asarray(Image.fromarray(result.labels).resize(size, Image.Resampling.NEAREST))
    assert min(dice((probability > 127) & (side == each), labels == each) for each in (1, 2)) > 0.999


def test_preview_of_a_small_image_is_not_upsampled(rg1_pixels: NDArray[np.uint16]) -> None:
    result = segment(dicom(rg1_pixels[::8, ::8].copy()))
    with Image.open(io.BytesIO(preview_png(result))) as image:
        assert image.size == (result.geometry.width, result.geometry.height)
        assert np.array_equal(np.asarray(image)[..., 1] > 127, result.probability >= 0.5)
