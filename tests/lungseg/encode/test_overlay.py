"""The picture of an image with its lungs: colours, outline and opacity, the same as on the page."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageColor

from lungseg.encode.overlay import LUNG_COLOURS, draw_overlay, overlay_png
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.server.browser import build_page

RIGHT_COLOUR, LEFT_COLOUR = (np.array(ImageColor.getrgb(LUNG_COLOURS[side])) for side in (RIGHT, LEFT))

RAMP = np.tile(np.arange(0, 65536, 64, np.uint16), (512, 1))
"""(512, 1024): black at the left, white at the right."""

CENTRES = {RIGHT: (256, 300), LEFT: (256, 700)}


@pytest.fixture(scope="module")
def labels() -> NDArray[np.uint8]:
    """Two discs of radius 150 on RAMP."""
    rows, columns = np.mgrid[:512, :1024]
    labels = np.zeros((512, 1024), np.uint8)
    for label, (row, column) in CENTRES.items():
        labels[np.hypot(rows - row, columns - column) < 150] = label
    return labels


def drawn(pixels: NDArray[np.uint16], labels: NDArray[np.uint8], opacity: float) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(overlay_png(pixels, labels, opacity))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("opacity", [0.0, 0.2, 0.7, 1.0])
def test_lungs_are_tinted_in_their_colours(labels: NDArray[np.uint8], opacity: float) -> None:
    picture = drawn(RAMP, labels, opacity)
    grey = (picture[5, :, 0]).astype(float)
    assert (picture[5] == picture[5, :, :1]).all()
    assert np.abs(grey - np.linspace(0, 255, 1024)).max() < 6
    for label, colour in ((RIGHT, RIGHT_COLOUR), (LEFT, LEFT_COLOUR)):
        row, column = CENTRES[label]
        expected = grey[column] + opacity * (colour - grey[column])
        np.testing.assert_allclose(picture[row, column], expected, atol=1)


def test_outline_runs_along_the_edge_above_a_dark_line(labels: NDArray[np.uint8]) -> None:
    picture = drawn(RAMP, labels, 0.2)
    for label, colour in ((RIGHT, RIGHT_COLOUR), (LEFT, LEFT_COLOUR)):
        row, column = CENTRES[label]
        for direction in ((-1, 0), (1, 0), (0, -1), (0, 1), (0.7, 0.7)):
            path = [(round(row + step * direction[0]), round(column + step * direction[1])) for step in range(140, 170)]
            along = [int(np.abs(picture[at] - colour).max()) for at in path]
            at_edge = int(np.argmin(along))
            distance = np.hypot(path[at_edge][0] - row, path[at_edge][1] - column)
            assert min(along) == 0
            assert distance == pytest.approx(150, abs=3)
            outside = [picture[at].mean() for at in path[at_edge : at_edge + 5]]
            assert min(outside) < 0.5 * picture[path[-1]].mean() + 5


def test_overlay_of_a_mask_has_one_colour(labels: NDArray[np.uint8]) -> None:
    picture = np.asarray(draw_overlay((RAMP // 256).astype(np.uint8), labels > 0, 1.0))
    for centre in CENTRES.values():
        np.testing.assert_array_equal(picture[centre], RIGHT_COLOUR)


def test_image_without_lungs_is_drawn_grey() -> None:
    for shape in ((512, 1024), (1, 1), (1, 700)):
        picture = np.asarray(draw_overlay(RAMP[: shape[0], : shape[1]], np.zeros(shape, np.uint8)))
        assert picture.shape == (*shape, 3)
        assert (picture == picture[..., :1]).all()


def test_lungs_that_fill_the_image_are_drawn() -> None:
    picture = np.asarray(draw_overlay(RAMP, np.full(RAMP.shape, LEFT, np.uint8), 1.0))
    assert (picture == LEFT_COLOUR).all()


def test_page_has_the_colours_and_the_opacity_of_overlays() -> None:
    page = build_page()[0]
    assert "{{" not in page
    assert f"--right: {LUNG_COLOURS[RIGHT]};" in page
    assert f"--left: {LUNG_COLOURS[LEFT]};" in page
    assert 'id="opacity" min="0" max="1" step="0.05" value="0.2"' in page
