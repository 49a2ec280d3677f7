"""Lungs from a probability: their parts, what is dropped or filled, and whose right they are."""

from __future__ import annotations

import numpy as np
import pytest
from films import dice
from numpy.typing import NDArray

from app.mask import LEFT, RIGHT, area, clean, regions, sides
from app.pose import Pose

SIDE = 200


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def soft(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, np.float32(0.97), np.float32(0.02))


def cleaned_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    return clean(probability, regions(probability, 0.5))


LUNGS = disc(100, 55, 35) | disc(100, 145, 30)


def test_regions_are_the_connected_parts_largest_first() -> None:
    ring = LUNGS & ~disc(100, 55, 10)
    large, small = regions(soft(ring), 0.5)
    assert large.area == pytest.approx(np.pi * (35**2 - 10**2), rel=0.03)
    assert small.area == pytest.approx(np.pi * 30**2, rel=0.03)
    assert area(large.holes[0]) == pytest.approx(np.pi * 10**2, rel=0.08)
    assert (large.outline[0] == large.outline[-1]).all()


def test_a_lung_that_reaches_the_border_has_a_closed_outline() -> None:
    (region,) = regions(soft(disc(100, 0, 40)), 0.5)
    assert region.area == pytest.approx(np.pi * 40**2 / 2, rel=0.05)


def test_specks_go_and_holes_are_filled() -> None:
    speck_with_a_hole = disc(20, 100, 6) & ~disc(20, 100, 3)
    dirty = (LUNGS & ~disc(90, 55, 6)) | speck_with_a_hole
    cleaned = cleaned_of(soft(dirty)) > 0.5
    np.testing.assert_array_equal(cleaned, LUNGS)


def test_the_mediastinum_between_touching_lungs_is_no_hole() -> None:
    both = disc(100, 100, 80) & ~disc(100, 100, 45)
    np.testing.assert_array_equal(cleaned_of(soft(both)) > 0.5, both)


@pytest.mark.parametrize("mask", [LUNGS, np.zeros_like(LUNGS), np.ones_like(LUNGS)])
def test_what_is_clean_is_left_as_it_is(mask: NDArray[np.bool_]) -> None:
    probability = soft(mask)
    assert cleaned_of(probability) is probability


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_the_patients_right_lung_is_found_however_the_film_lies(turns: int, mirrored: bool) -> None:
    upright = np.where(disc(100, 55, 35), RIGHT, np.where(disc(100, 145, 30), LEFT, 0)).astype(np.uint8)
    stored = np.rot90(upright[:, ::-1] if mirrored else upright, turns)
    mask = np.ascontiguousarray(stored > 0)
    pose = Pose(turns, mirrored=mirrored)
    found = sides(mask, regions(soft(mask), 0.5), pose.axis, swapped=not pose.right_is_first)
    np.testing.assert_array_equal(found * mask, stored)


def test_lungs_that_touch_are_parted_at_the_thinnest_place() -> None:
    touching = disc(100, 65, 40) | disc(100, 135, 36)
    found = sides(touching, regions(soft(touching), 0.5), 1, swapped=False) * touching
    assert dice(found == RIGHT, disc(100, 65, 40)) > 0.97
    assert dice(found == LEFT, disc(100, 135, 36)) > 0.97


@pytest.mark.parametrize(("x", "label"), [(50, RIGHT), (150, LEFT)])
def test_a_lung_alone_is_not_cut_in_two(x: int, label: int) -> None:
    alone = disc(100, x, 35)
    found = sides(alone, regions(soft(alone), 0.5), 1, swapped=False) * alone
    assert set(np.unique(found)) == {0, label}


def test_an_empty_mask_has_no_region() -> None:
    empty = np.zeros((SIDE, SIDE), bool)
    assert regions(soft(empty), 0.5) == []
    assert sides(empty, [], 1, swapped=False).shape == (SIDE, SIDE)


def test_lung_at_the_border_is_outlined_to_the_pictures_very_edge() -> None:
    (region,) = regions(soft(np.ones_like(LUNGS)), 0.5)
    assert region.area == SIDE * SIDE
    assert (region.outline.min(), region.outline.max()) == (-0.5, SIDE - 0.5)
