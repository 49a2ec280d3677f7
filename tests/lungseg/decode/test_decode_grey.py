"""Luminance by ITU-R BT.601, and the eight orientations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from lungseg.decode.greyscale import luminance, upright


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
def test_luminance_is_rounded_bt_601(dtype: str) -> None:
    top = 255 if dtype == "u1" else 65535
    colours = [(0, 0, 0), (top, top, top), (top, 0, 0), (0, top, 0), (0, 0, top), (100, 101, 102), (3, 0, 0), (2, 0, 0)]
    grey = luminance(np.array([[*colours]], dtype))
    assert grey.dtype == (np.uint8 if dtype == "u1" else np.uint16)
    assert grey.dtype.isnative
    # 3 x 0.299 = 0.897 is 1, 2 x 0.299 = 0.598 is 1 too.
    parts = [round(top * share) for share in (0.299, 0.587, 0.114)]
    np.testing.assert_array_equal(grey, [[0, top, *parts, 101, 1, 1]])


def test_luminance_rounds_half_up() -> None:
    """0.499 and 0.5 above an integer; samples after the third are ignored."""
    just_below, half = (1, 0, 175), (0, 0, 250)  # 20.249 and 28.5
    found = luminance(
        np.array([[(*just_below, 200), (*half, 200), (1, 0, 0, 9), (0, 0, 4, 9), (0, 0, 5, 9)]], np.uint8)
    )
    np.testing.assert_array_equal(found, [[20, 29, 0, 0, 1]])


@pytest.mark.parametrize("value", range(256))
def test_luminance_of_grey_is_unchanged(value: int) -> None:
    assert luminance(np.full((1, 1, 3), value, np.uint8)) == value
    assert luminance(np.full((1, 1, 3), 257 * value, np.uint16)) == 257 * value


def test_luminance_of_tall_image() -> None:
    tall = np.arange(600, dtype=np.uint16).repeat(6).reshape(600, 2, 3)
    np.testing.assert_array_equal(luminance(tall), tall[..., 0])


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_matches_pillow(orientation: int) -> None:
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    shown = upright(stored, orientation)
    np.testing.assert_array_equal(shown, np.asarray(ImageOps.exif_transpose(image)))
    assert shown.flags.c_contiguous
