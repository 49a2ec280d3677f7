"""Targets from lung masks and field masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from films import SHARED

from lungseg.model.preprocess import InputSpec, letterbox
from model_export.data.augment import Augment
from model_export.data.truth import lateral_third, score_field, split_known

SIZE = 128


def two_fields(size: int = SIZE) -> np.ndarray:
    """Return two fields with a gap between them, the right one longer."""
    mask = np.zeros((size, size), bool)
    mask[20:90, 20:55] = True
    mask[20:110, 70:105] = True
    return mask


def test_lung_mask_defines_all_of_lung() -> None:
    mask = two_fields()
    target, unknown = split_known(mask, "lung")
    assert not unknown[0].any()
    np.testing.assert_array_equal(target[0] > 0, mask)
    np.testing.assert_array_equal(unknown[1] == 0, mask)
    assert target[1][mask].all()


def test_field_mask_defines_lung_in_part() -> None:
    mask = two_fields()
    target, unknown = split_known(mask, "field")
    assert not unknown[1].any()
    np.testing.assert_array_equal(target[1] > 0, mask)
    known = unknown[0] == 0
    assert known[:10].all()
    assert not target[0][:10].any()
    assert target[0][50, 23] == 1  # the outer third of the field on the left
    assert target[0][50, 102] == 1
    assert not known[50, 50]  # the heart may be here
    assert not known[50, 72]
    assert not known[50, 19]  # too close to the border
    # In a row with a single run, the outer third is ambiguous.
    assert not target[0][100].any()
    assert not known[100, 72:103].any()


def test_augmentation_warps_known_pixels_with_the_image() -> None:
    """Outside the image there is no lung, and this is known; known lung stays inside the field."""
    mask = two_fields()
    image = np.where(mask, 60, 180).astype(np.uint8)
    augment = Augment(InputSpec(size=SIZE), True, outputs=2)
    geometry = letterbox(SIZE, SIZE, SIZE)
    shares = []
    for seed in range(30):
        _, target, known = augment(image, mask, geometry, seed, "field")
        assert set(known.unique().tolist()) <= {0.0, 1.0}
        lung = (target[0] > 0.99) & (known[0] > 0)
        assert (target[1][lung] > 0.5).all()
        shares.append(float(known[0].mean()))
    assert 0.5 < np.mean(shares) < 0.95
    plain = Augment(InputSpec(size=SIZE), False, outputs=2)
    _, target, known = plain(image, mask, geometry, 0, "field")
    expected, unknown = split_known(mask, "field")
    assert torch.equal(target, torch.from_numpy(expected))
    assert torch.equal(known, torch.from_numpy(1 - unknown))


def test_field_score_counts_outside_and_lateral_third() -> None:
    field = two_fields(512)
    outside, lateral = score_field(field, field)
    assert (outside, lateral) == (0, 1)
    stray = field.copy()
    stray[400:440, 200:300] = True
    assert score_field(stray, field)[0] == pytest.approx(4000 / stray.sum())
    assert score_field(np.zeros_like(field), field) == (0, 0)
    assert lateral_third(field).sum() < field.sum() / 2


def test_field_score_matches_the_data_set_s() -> None:
    if not (SHARED / "more" / "score_fields.py").is_file():
        pytest.skip("the further hospitals are not here (../shared/data/more)")
    names: dict = {}
    exec((SHARED / "more" / "score_fields.py").read_text(), names)
    field = two_fields(512)
    for shift in (0, 4, 9, 30):
        mask = np.roll(field, shift, 1)
        assert score_field(mask, field) == pytest.approx(names["score"](field, mask))


def test_field_border_is_independent_of_the_aspect() -> None:
    square = np.zeros((512, 512), bool)
    square[150:350, 60:200] = square[150:350, 300:440] = True
    mask = np.roll(square, 4, axis=1)
    assert score_field(mask[100:400], square[100:400]) == score_field(mask, square)
