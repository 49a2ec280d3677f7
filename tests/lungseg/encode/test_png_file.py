"""PNG files of our own writer, read by Pillow and libpng."""

from __future__ import annotations

import io

import numpy as np
import pytest
from imagecodecs import png_decode
from numpy.typing import NDArray
from PIL import Image

from lungseg.encode.png_file import samples_png

RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 401), (1, 65), (65, 1), (33, 20, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_samples_are_read_as_they_were_written(shape: tuple[int, ...], dtype: type) -> None:
    samples = RANDOM.integers(0, np.iinfo(dtype).max + 1, shape, dtype)
    for stored in (samples, np.asfortranarray(samples)):
        np.testing.assert_array_equal(png_decode(samples_png(stored)), samples)


def test_pillow_reads_every_kind() -> None:
    kinds: dict[str, NDArray[np.generic]] = {
        "L": RANDOM.integers(0, 256, (9, 8), np.uint8),
        "I;16": RANDOM.integers(0, 65536, (9, 8), np.uint16),
        "LA": RANDOM.integers(0, 256, (9, 8, 2), np.uint8),
    }
    for mode, samples in kinds.items():
        with Image.open(io.BytesIO(samples_png(samples))) as image:
            assert image.mode == mode
            np.testing.assert_array_equal(np.asarray(image), samples)


def test_palette_gives_the_colours() -> None:
    palette = RANDOM.integers(0, 256, (200, 3), np.uint8)
    indices = RANDOM.integers(0, 200, (30, 50), np.uint8)
    with Image.open(io.BytesIO(samples_png(indices, palette))) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), palette[indices])
