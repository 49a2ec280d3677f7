"""Regions of the mask, the removal of fragments and holes, and the assignment of sides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from contourpy import FillType, contour_generator
from films import dice
from numpy.typing import NDArray
from PIL import Image

from lungseg.model.preprocess import letterbox
from lungseg.pipeline.mask import LEFT, RIGHT, assign_sides, clean_probability, find_regions, outline_area
from lungseg.pipeline.pose import Pose
from lungseg.pipeline.upsample import upsample_probability

SIDE = 200


def disc(y: float, x: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.hypot(rows - y, columns - x) < radius


def soft(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(mask, np.float32(0.97), np.float32(0.02))


def cleaned_of(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    return clean_probability(probability, find_regions(probability, 0.5), 0.5)


LUNGS = disc(100, 55, 35) | disc(100, 145, 30)


def test_regions_are_sorted_by_area() -> None:
    ring = LUNGS & ~disc(100, 55, 10)
    large, small = find_regions(soft(ring), 0.5)
    assert large.area == pytest.approx(np.pi * (35**2 - 10**2), rel=0.03)
    assert small.area == pytest.approx(np.pi * 30**2, rel=0.03)
    assert outline_area(large.holes[0]) == pytest.approx(np.pi * 10**2, rel=0.08)
    assert (large.outline[0] == large.outline[-1]).all()


def test_outline_of_a_lung_at_the_border_is_closed() -> None:
    (region,) = find_regions(soft(disc(100, 0, 40)), 0.5)
    assert region.area == pytest.approx(np.pi * 40**2 / 2, rel=0.05)


def test_fragments_are_removed_and_holes_filled() -> None:
    fragment_with_a_hole = disc(20, 100, 6) & ~disc(20, 100, 3)
    dirty = (LUNGS & ~disc(90, 55, 6)) | fragment_with_a_hole
    cleaned = cleaned_of(soft(dirty)) > 0.5
    np.testing.assert_array_equal(cleaned, LUNGS)


@pytest.mark.parametrize("side", [90, 333])
def test_higher_threshold_gives_a_subset_after_cleaning(side: int) -> None:
    """Each threshold has other fragments and holes, and upsampling interpolates between them and the lung."""
    rows, columns = np.mgrid[:SIDE, :SIDE]

    def bump(y: float, x: float, radius: float) -> NDArray[np.float64]:
        return 1 / (1 + np.exp((np.hypot(rows - y, columns - x) - radius) / 2))

    lung = bump(100, 70, 40) + bump(100, 118, 5) - 0.8 * bump(80, 70, 5) - 0.7 * bump(105, 105, 4)
    probability = lung.clip(0, 1).astype(np.float32)
    geometry = letterbox(side, side, SIDE)
    before = np.ones((side, side), np.bool_)
    for threshold in np.linspace(0.02, 0.98, 97):
        cleaned = clean_probability(probability, find_regions(probability, threshold), threshold)
        mask = upsample_probability(cleaned, geometry) > threshold
        assert not (mask & ~before).any(), threshold
        before = mask


def test_mediastinum_between_touching_lungs_is_not_filled() -> None:
    both = disc(100, 100, 80) & ~disc(100, 100, 45)
    np.testing.assert_array_equal(cleaned_of(soft(both)) > 0.5, both)


@pytest.mark.parametrize("mask", [LUNGS, np.zeros_like(LUNGS), np.ones_like(LUNGS)])
def test_clean_probability_is_returned_unchanged(mask: NDArray[np.bool_]) -> None:
    probability = soft(mask)
    assert cleaned_of(probability) is probability


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_right_lung_is_found_in_every_pose(turns: int, mirrored: bool) -> None:
    upright = np.where(disc(100, 55, 35), RIGHT, np.where(disc(100, 145, 30), LEFT, 0)).astype(np.uint8)
    stored = np.rot90(upright[:, ::-1] if mirrored else upright, turns)
    mask = np.ascontiguousarray(stored > 0)
    pose = Pose(turns, mirrored=mirrored)
    found = assign_sides(mask, find_regions(soft(mask), 0.5), pose.axis, swapped=not pose.is_right_first)
    np.testing.assert_array_equal(found * mask, stored)


def test_touching_lungs_are_split_at_the_thinnest_place() -> None:
    touching = disc(100, 65, 40) | disc(100, 135, 36)
    found = assign_sides(touching, find_regions(soft(touching), 0.5), 1, swapped=False) * touching
    assert dice(found == RIGHT, disc(100, 65, 40)) > 0.97
    assert dice(found == LEFT, disc(100, 135, 36)) > 0.97


def test_bridge_between_lungs_is_split_in_half() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:50, 5:29] = mask[10:50, 31:55] = mask[28:32, 29:31] = True
    found = assign_sides(mask, find_regions(soft(mask), 0.5), 1, swapped=False) * mask
    assert (found[30, :30] == np.where(mask[30, :30], RIGHT, 0)).all()
    assert (found[30, 30:] == np.where(mask[30, 30:], LEFT, 0)).all()


@pytest.mark.parametrize(("x", "label"), [(50, RIGHT), (150, LEFT)])
def test_single_lung_is_not_split(x: int, label: int) -> None:
    alone = disc(100, x, 35)
    found = assign_sides(alone, find_regions(soft(alone), 0.5), 1, swapped=False) * alone
    assert set(np.unique(found)) == {0, label}


def test_empty_mask_has_no_region() -> None:
    empty = np.zeros((SIDE, SIDE), bool)
    assert find_regions(soft(empty), 0.5) == []
    assert assign_sides(empty, [], 1, swapped=False).shape == (SIDE, SIDE)


def test_outline_reaches_the_edge_of_the_image() -> None:
    (region,) = find_regions(soft(np.ones_like(LUNGS)), 0.5)
    assert region.area == SIDE * SIDE
    assert (region.outline.min(), region.outline.max()) == (-0.5, SIDE - 0.5)


def block(top: int, bottom: int, left: int, right: int, shape: tuple[int, int] = (60, 90)) -> NDArray[np.bool_]:
    """Return a mask of rows ``top`` to ``bottom`` and columns ``left`` to ``right``, the ends excluded."""
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


CROSSING = (0.97 - 0.5) / (0.97 - 0.02)
"""Distance from a bright pixel's centre, towards a dark one's, at which `soft` crosses 0.5."""


@pytest.mark.parametrize(
    ("top", "bottom", "left", "right"),
    [(10, 30, 40, 70), (0, 20, 0, 30), (40, 60, 60, 90), (1, 59, 1, 89), (5, 6, 7, 8)],
)
def test_outline_follows_the_threshold(top: int, bottom: int, left: int, right: int) -> None:
    (region,) = find_regions(soft(block(top, bottom, left, right)), 0.5)
    sides_found = [*region.outline.min(0), *region.outline.max(0)]
    inner = [left - CROSSING, top - CROSSING, right - 1 + CROSSING, bottom - 1 + CROSSING]
    edges = [-0.5, -0.5, 89.5, 59.5]
    at_the_edge = [left == 0, top == 0, right == 90, bottom == 60]
    expected = [edge if there else each for edge, each, there in zip(edges, inner, at_the_edge, strict=True)]
    assert sides_found == pytest.approx(expected, abs=1e-6)
    assert region.holes == ()


def test_probability_equal_to_the_threshold_is_not_lung() -> None:
    assert find_regions(np.full((60, 90), 0.5, np.float32), 0.5) == []
    assert len(find_regions(np.full((60, 90), 0.51, np.float32), 0.5)) == 1


def test_cleaning_changes_only_fragments_and_holes() -> None:
    probability = soft((LUNGS & ~disc(90, 55, 6)) | disc(20, 100, 4))
    cleaned = cleaned_of(probability)
    assert (cleaned[disc(90, 55, 6)] == np.float32(0.501)).all()
    assert (cleaned[disc(20, 100, 4)] == np.float32(0.499)).all()
    far = ~disc(90, 55, 9) & ~disc(20, 100, 7)
    np.testing.assert_array_equal(cleaned[far], probability[far])
    changed = cleaned != probability
    assert (changed <= disc(90, 55, 8) | disc(20, 100, 6)).all()


@pytest.mark.parametrize("seed", range(5))
def test_fragments_of_any_shape_are_removed(seed: int) -> None:
    generator = np.random.default_rng(seed)
    outside = ~(disc(100, 55, 39) | disc(100, 145, 34))
    fragments = (generator.random((SIDE, SIDE)) > 0.85) & outside
    probability = soft(LUNGS | fragments)
    probability[fragments] = generator.uniform(0.51, 0.99, fragments.sum())
    np.testing.assert_array_equal(cleaned_of(probability) > 0.5, LUNGS)


def test_single_lung_takes_its_half_of_the_image() -> None:
    for wide in (200, 201):
        alone = np.zeros((SIDE, wide), bool)
        alone[:, :SIDE][:, : min(wide, SIDE)] = disc(100, 50, 35)
        found = assign_sides(alone, find_regions(soft(alone), 0.5), 1, swapped=False)
        assert (found[0] == np.where(np.arange(wide) < wide / 2, RIGHT, LEFT)).all()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shift", [-35, 0, 35])
def test_off_centre_lungs_are_split_between_them(axis: int, shift: int) -> None:
    first, second = disc(100, 65 + shift, 30), disc(100, 135 + shift, 28)
    if axis == 0:
        first, second = first.T, second.T
    mask = first | second
    found = assign_sides(mask, find_regions(soft(mask), 0.5), axis, swapped=False)
    np.testing.assert_array_equal(found * mask, np.where(first, RIGHT, np.where(second, LEFT, 0)))
    # Between the lungs, the sides meet in the middle of the gap.
    row = found[0] if axis == 1 else found[:, 0]
    gap = np.flatnonzero(~mask.any(1 - axis)[80 + shift : 130 + shift]) + 80 + shift
    assert np.flatnonzero(row == LEFT)[0] == pytest.approx(np.median(gap) + 0.5, abs=1)
    swapped = assign_sides(mask, find_regions(soft(mask), 0.5), axis, swapped=True)
    np.testing.assert_array_equal(swapped, 3 - found)


@pytest.mark.parametrize("axis", [0, 1])
def test_region_across_the_midline_stays_whole(axis: int) -> None:
    """Air-filled bowel or a tube may be segmented as lung: the whole region goes to the side of its larger part."""
    lung, other = disc(100, 55, 35), disc(100, 145, 30)
    arm = np.zeros_like(lung)
    arm[131:135, 55:135] = True
    lung |= arm & ~disc(100, 145, 34)
    if axis == 0:
        lung, other = lung.T, other.T
    mask = lung | other
    assert len(find_regions(soft(mask), 0.5)) == 2
    found = assign_sides(mask, find_regions(soft(mask), 0.5), axis, swapped=False)
    np.testing.assert_array_equal(found * mask, np.where(lung, RIGHT, np.where(other, LEFT, 0)))


def test_small_region_does_not_change_a_larger_one() -> None:
    """A fragment in the concavity of a lung: the larger region is drawn last."""
    lung, other = disc(100, 55, 35) & ~disc(100, 75, 10), disc(100, 145, 30)
    fragment = disc(100, 75, 6)
    mask = lung | other | fragment
    found = assign_sides(mask, find_regions(soft(mask), 0.5), 1, swapped=False)
    np.testing.assert_array_equal(found * mask, np.where(lung | fragment, RIGHT, np.where(other, LEFT, 0)))


@pytest.mark.parametrize("seed", range(60))
def test_regions_match_contourpys_newest_algorithm(seed: int) -> None:
    """Outlines, their holes and islands in holes are equal, in blobs and in noise."""
    random = np.random.default_rng(seed)
    probability = random.random((30, 41), np.float32) if seed % 2 else random.random((7, 9), np.float32)
    if seed % 2 == 0:
        probability = np.asarray(Image.fromarray(probability).resize((60, 50), Image.Resampling.BILINEAR))
    # Pad with zeros, so that every outline is closed within the array.
    probability = np.pad(probability, 2)
    newest = contour_generator(z=probability, fill_type=FillType.OuterOffset).filled(0.5, np.inf)
    wanted = [[points[a:b] for a, b in pairwise(offsets)] for points, offsets in zip(*newest, strict=True)]
    assert _as_sets(wanted) == _as_sets([[each.outline, *each.holes] for each in find_regions(probability, 0.5)])


def _as_sets(found: list[list[NDArray[np.float64]]]) -> set[tuple[frozenset[object], frozenset[object]]]:
    """Return each region's outline and holes as sets of points, independent of where they start."""
    points = [[frozenset(map(tuple, np.round(line[1:], 6))) for line in lines] for lines in found]
    return {(outline, frozenset(holes)) for outline, *holes in points}
