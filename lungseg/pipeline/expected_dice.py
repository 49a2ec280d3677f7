"""Estimate the Dice of a mask, and find the parts that are most likely wrong.

The estimate is a linear function of six figures of the network's own output (`measure_figures`). Its coefficients are
learned from images with known masks that the network was not trained on, as they are and degraded (`python -m
model_export expect`). They are in the model's card; a model without them gives no estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungseg.model.card import FIGURES, Calibration
from lungseg.pipeline.mask import LEFT, RIGHT

BoolGrid = NDArray[np.bool_]

GRID_STEP = 2
"""The figures use every second pixel of the grid: enough for whole lungs, in a quarter of the time."""

EDGE_DISTANCE = 3
"""Pixels of that grid this close to the mask's edge are neither deep inside nor far outside."""

MIN_LOG_SHARE = 1e-4
"""Smaller shares are replaced with this before the logarithm."""

DICE_OFFSET = 0.01
"""The estimate predicts log(1.01 - Dice)."""

THIRDS = ("upper", "middle", "lower")

MIN_DOUBT_RATIO = 0.5
"""A third of a lung is doubtful if its expected error is at least this fraction of the largest one."""


@dataclass(frozen=True)
class MaskFigures:
    """The figures of a mask. Errors are 1 - soft Dice: 1 - 2 sum(p in mask) / (pixels of mask + sum(p)).

    Attributes:
        error: log of the larger of the two lungs' errors.
        outline: length of the mask's outline divided by the square root of its area; about 12 for two smooth lungs.
        inside: log of the mean 1 - p deep inside the mask.
        outside: log of the sum of p far outside the mask, divided by the mask's area.
        imbalance: absolute log of the ratio of the lungs' areas, at most 2.
        missed: share of a lung field's outer third that is not in the mask, on the side where it is larger; 0 without a
            field.
    """

    error: float
    outline: float
    inside: float
    outside: float
    imbalance: float
    missed: float


def estimate_dice(calibration: Calibration, figures: MaskFigures) -> float:
    """Return the expected Dice of a mask, 0 to 1."""
    low, high, slopes = calibration.low, calibration.high, calibration.slopes
    values = {name: float(np.clip(getattr(figures, name), low[name], high[name])) for name in FIGURES}
    error = calibration.intercept + sum(slopes[name] * value for name, value in values.items())
    return float(np.clip(1 + DICE_OFFSET - np.exp(error), 0, 1))


def measure_figures(
    probability: NDArray[np.float32],
    field: NDArray[np.float32] | None,
    sides: NDArray[np.uint8],
    turns: int,
    threshold: float,
) -> MaskFigures:
    """Return the figures of a mask.

    Args:
        probability: (height, width) float32 in [0, 1], of lung.
        field: the same for the lung field, if the model predicts it.
        sides: (height, width) uint8: mask.RIGHT or mask.LEFT, the lung that each pixel would belong to.
        turns: the image's rotation in quarter turns counter-clockwise, 0 to 3.
        threshold: a pixel is lung if its probability is above this.
    """
    p, sides = _thinned(probability, turns), _thinned(sides, turns)
    mask = p > threshold
    area = max(1, int(np.count_nonzero(mask)))
    steps = np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1])
    grown, deep = _grown(mask), ~_grown(~mask)
    areas = [max(1, int(np.count_nonzero(mask & (sides == side)))) for side in (RIGHT, LEFT)]
    return MaskFigures(
        error=_log(max(_error(p * (sides == side), threshold) for side in (RIGHT, LEFT))),
        outline=steps / area**0.5,
        inside=_log(1 - p[deep].mean() if deep.any() else 1.0),
        outside=_log(p[~grown].sum() / area),
        imbalance=min(2.0, abs(float(np.log(areas[0] / areas[1])))),
        missed=0.0 if field is None else _missed(_thinned(field, turns) > 0.5, mask, sides),
    )


def doubtful_parts(
    probability: NDArray[np.float32], sides: NDArray[np.uint8], turns: int, threshold: float
) -> tuple[str, ...]:
    """Return the parts of the lungs where the mask is most likely wrong, as "left lower", the most doubtful first.

    Both lungs are divided into thirds from top to bottom. The expected error of a third is the sum of its pixels'
    probabilities to be on the wrong side of the threshold. The arguments are those of `measure_figures`.
    """
    p, sides = _thinned(probability, turns), _thinned(sides, turns)
    rows = np.flatnonzero((p > min(threshold, 0.25)).any(1))
    if not rows.size:
        return ()
    wrong = np.where(p > threshold, 1 - p, p)
    thirds = ((np.arange(len(p)) - rows[0]) * 3 // (rows[-1] - rows[0] + 1)).clip(0, 2)
    errors = {
        f"{name} {third}": float((wrong * (sides == side))[thirds == number].sum())
        for name, side in (("right", RIGHT), ("left", LEFT))
        for number, third in enumerate(THIRDS)
    }
    most = max(errors.values())
    ordered = sorted(errors, key=lambda part: -errors[part])
    return tuple(part for part in ordered if errors[part] >= MIN_DOUBT_RATIO * most)


def _thinned(grid: NDArray[Any], turns: int) -> NDArray[Any]:
    """Return every GRID_STEP-th pixel, upright."""
    return np.rot90(grid[::GRID_STEP, ::GRID_STEP], -turns)


def _log(part: float) -> float:
    return float(np.log(max(part, MIN_LOG_SHARE)))


def _error(p: NDArray[np.float32], threshold: float) -> float:
    """Return 1 - soft Dice; 1 if there is no lung."""
    lung = p[p > threshold]
    return float(1 - 2 * lung.sum() / (lung.size + p.sum())) if lung.size else 1.0


def _grown(mask: BoolGrid) -> BoolGrid:
    """Return the mask grown by EDGE_DISTANCE pixels, along rows and columns."""
    for axis in (0, 1):
        grown = mask.copy()
        to, source = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        for shift in range(1, EDGE_DISTANCE + 1):
            to[shift:] |= source[:-shift]
            to[:-shift] |= source[shift:]
        mask = grown
    return mask


def _missed(field: BoolGrid, mask: BoolGrid, sides: NDArray[np.uint8]) -> float:
    """Return the share of the field's outer third that is not in the mask, of the side where it is larger."""
    field = ~_grown(~field)
    shares = []
    for side in (RIGHT, LEFT):
        own = field & (sides == side)
        counts = np.count_nonzero(own, axis=1, keepdims=True)
        nth = own.cumsum(1)
        columns = np.flatnonzero(own.any(0))
        if not columns.size:
            continue
        # The outer third is the first of each row on the left of the image, and the last on its right.
        is_left = columns.mean() < field.shape[1] / 2
        outer = own & ((nth <= counts // 3) if is_left else (nth > counts - counts // 3))
        shares.append(np.count_nonzero(outer & ~mask) / max(1, int(np.count_nonzero(outer))))
    return max(shares, default=0.0)
