"""Preprocessing keeps aspect and position, ignores exposure, and upsampling reverses it."""

from __future__ import annotations

import numpy as np
import pytest
from films import dice
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lungseg import errors
from lungseg.model.preprocess import Geometry, InputSpec, letterbox, paste_box, preprocess, shrink_image, standardise
from lungseg.pipeline.upsample import upsample_bits, upsample_probability

SPEC = InputSpec()


@pytest.mark.parametrize("shape", [(4020, 4892), (4892, 4020), (512, 421), (300, 200), (2000, 2000)])
def test_mask_survives_the_round_trip(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]] / np.array(shape)[:, None, None]
    mask = np.hypot((rows - 0.45) / 0.3, (columns - 0.3) / 0.15) < 1
    geometry = letterbox(*shape, SPEC.size)
    square = paste_box(shrink_image((mask * 255).astype(np.uint8), geometry).astype(np.float32) / 255, geometry)
    back = upsample_probability(np.ascontiguousarray(square[geometry.box]), geometry)
    assert back.shape == shape
    assert dice(back > 0.5, mask) > 0.997


def test_letterbox_keeps_the_aspect_ratio() -> None:
    geometry = letterbox(4020, 4892, 512)
    assert (geometry.box_height, geometry.box_width) == (421, 512)
    assert (geometry.top, geometry.left) == (45, 0)


def test_bit_depth_and_exposure_do_not_matter(rg1_pixels: NDArray[np.uint16]) -> None:
    reference, _ = preprocess(rg1_pixels, SPEC)
    twelve_bits, _ = preprocess((rg1_pixels >> 4).astype(np.uint16), SPEC)
    brighter, _ = preprocess((rg1_pixels >> 1) + np.uint16(20000), SPEC)
    eight_bits, _ = preprocess((rg1_pixels >> 8).astype(np.uint8), SPEC)
    assert abs(twelve_bits - reference).max() < 0.01
    assert abs(brighter - reference).max() < 0.01
    assert abs(eight_bits - reference).mean() < 0.02


def test_input_is_standardised_and_padded_with_the_mean(rg1_pixels: NDArray[np.uint16]) -> None:
    inputs, geometry = preprocess(rg1_pixels, InputSpec(channels=3))
    assert inputs.shape == (1, 3, 512, 512)
    assert inputs.dtype == np.float32
    box = inputs[0, 0][geometry.box]
    assert abs(box.mean()) < 1e-3
    assert abs(box.std() - 1) < 1e-3
    assert (inputs[0, :, :, : geometry.left] == 0).all()


@pytest.mark.parametrize("shape", [(2304, 2170), (2305, 2171), (4611, 3001), (700, 1999), (300, 200), (64, 5000)])
def test_both_bit_depths_shrink_alike(shape: tuple[int, int]) -> None:
    """Blocks at the bottom and right edges are smaller if a side is odd."""
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    geometry = letterbox(*shape, 512)
    eight, sixteen = shrink_image(image, geometry), shrink_image(image.astype(np.uint16) * 257, geometry)
    assert sixteen.dtype == np.uint16
    # Pillow rounds to integers between its two steps.
    assert abs(eight * 257.0 - sixteen).max() <= 1.5 * 257


def test_bright_marker_does_not_dim_the_image(rg1_pixels: NDArray[np.uint16]) -> None:
    plain = standardise(rg1_pixels[::4, ::4] >> 4, SPEC)
    marked = (rg1_pixels[::4, ::4] >> 4).copy()
    marked[5:15, 5:35] = 65535  # sixteen times as bright as bone
    assert abs(standardise(marked, SPEC)[40:] - plain[40:]).mean() < 0.05


def test_image_of_one_grey_is_refused() -> None:
    with pytest.raises(errors.BlankImage):
        preprocess(np.full((300, 300), 77, np.uint8), SPEC)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
@example(1, 1, 1, 1, 0)
@example(1, 7, 300, 300, 0)
@example(40, 40, 39, 300, 0)
@example(40, 40, 41, 40, 0)
def test_upsampled_bits_equal_the_thresholded_probability(
    box_height: int, box_width: int, height: int, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    box = random.random((box_height, box_width), np.float32)
    threshold = float(random.choice([0.5, 0.001, 0.999, float(box.flat[0])]))
    geometry = Geometry(height, width, 40, 0, 0, box_height, box_width)
    probability = upsample_probability(box, geometry)
    # The two methods round differently in the last digit.
    clear = np.abs(probability - threshold) > 1e-6
    bits = upsample_bits(box, geometry, threshold)
    assert bits.shape == (height, -(-width // 8))
    mask = np.unpackbits(bits, axis=1, count=width).view(bool)
    np.testing.assert_array_equal(mask[clear], (probability > threshold)[clear])
