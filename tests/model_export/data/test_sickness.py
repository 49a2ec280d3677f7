"""Changes drawn over training images resemble sickness, and never change the mask."""

from __future__ import annotations

import numpy as np
import pytest

from model_export.data.phantoms import draw_chest
from model_export.data.sickness import (
    SICKNESS_CHANGES,
    add_effusion,
    add_opacities,
    add_pneumothorax,
    add_white_lung,
    make_sick,
)

SEEDS = range(6)


def phantom(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a phantom in [0, 1] and its two lungs."""
    image, left, right = draw_chest(200, 180, seed)
    return image.astype(np.float32) / 255, left, right


@pytest.mark.parametrize("change", [change for _, change in SICKNESS_CHANGES], ids=lambda change: change.__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_change_is_reproducible_and_copies_its_input(change, seed: int) -> None:
    image, left, right = phantom(seed)
    before, mask = image.copy(), left | right
    one, two = (change(image, mask, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(mask, left | right)
    assert one.dtype == np.float32
    assert one.shape == image.shape
    assert np.isfinite(one).all()
    assert -0.01 <= one.min() <= one.max() <= 1.01


@pytest.mark.parametrize("change", [add_white_lung, add_opacities, add_effusion])
@pytest.mark.parametrize("seed", SEEDS)
def test_white_changes_never_darken(change, seed: int) -> None:
    image, left, right = phantom(seed)
    assert (change(image, left | right, np.random.default_rng(seed)) - image).min() >= 0


@pytest.mark.parametrize("seed", SEEDS)
def test_white_lung_hides_half_a_lung_at_least(seed: int) -> None:
    """A large part of one lung becomes about as bright as the body beside it."""
    image, left, right = phantom(seed)
    after = add_white_lung(image, left | right, np.random.default_rng(seed))
    change = after - image
    hidden = max(float((change[lung] > 0.1).mean()) for lung in (left, right))
    assert hidden > 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_effusion_fills_one_lung_from_its_base(seed: int) -> None:
    image, left, right = phantom(seed)
    change = add_effusion(image, left | right, np.random.default_rng(seed)) - image
    filled, other = sorted((left, right), key=lambda lung: -change[lung].sum())
    assert change[other].max() < 0.01
    rows = np.flatnonzero(filled.any(1))
    top, base = (change[part][filled[part]].mean() for part in (slice(0, rows[0] + 10), slice(rows[-1] - 10, None)))
    assert top < 0.01
    assert base > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_pneumothorax_darkens_only_lung(seed: int) -> None:
    image, left, right = phantom(seed)
    change = add_pneumothorax(image, left | right, np.random.default_rng(seed)) - image
    assert change.max() <= 0
    assert np.abs(change[~(left | right)]).max() == 0


def test_most_images_are_changed() -> None:
    image, left, right = phantom(1)
    changed = [make_sick(image, left | right, np.random.default_rng(seed)) is not image for seed in range(60)]
    assert 0.6 < np.mean(changed) < 0.95
    assert make_sick(image, np.zeros_like(left), np.random.default_rng(1)) is image
