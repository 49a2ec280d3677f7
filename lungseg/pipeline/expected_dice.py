"""How good is this mask? The Dice it may be expected to reach, and where it is doubtful.

The estimate rests on six figures of the network's own output (`measure_figures`). What they are worth is learned from images whose
masks are known and which the network never saw, changed for the worse as well (`python -m model_export expect`). The
coefficients travel in the model's card; a model without them gives no estimate.
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
"""Every second pixel of the grid is looked at: enough for figures of whole lungs, in a quarter of the time."""

EDGE_DISTANCE = 3
"""Pixels of that grid from the mask's edge that are neither deep inside nor far outside."""

MIN_LOG_SHARE = 1e-4
"""Parts below this are taken for this, so that their logarithm is a number."""

DICE_OFFSET = 0.01
"""Estimates are made of log(1.01 - Dice)."""

THIRDS = ("upper", "middle", "lower")

MIN_DOUBT_RATIO = 0.5
"""A third of a lung is named if its share of the expected error is at least this part of the largest one."""


@dataclass(frozen=True)
class MaskFigures:
    """What the estimate rests on. Errors are 1 - soft Dice: 1 - 2 sum(p in mask) / (pixels of mask + sum(p)).

    Attributes:
        error: log of the larger one of both lungs' errors.
        outline: length of the mask's outline by the square root of its area; about 12 for two smooth lungs.
        inside: log of the mean 1 - p deep inside the mask.
        outside: log of the sum of p far outside the mask, by the mask's area.
        imbalance: absolute log of the right lung's area by the left one's, at most 2.
        missed: share of a lung field's outer third that is not in the mask, of the side where it is larger; 0 without a
            field.
    """

    error: float
    outline: float
    inside: float
    outside: float
    imbalance: float
    missed: float


def estimate_dice(calibration: Calibration, figures: MaskFigures) -> float:
    """Return the Dice that a mask may be expected to reach, 0 to 1."""
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
    """Return the figures that an estimate rests on.

    Args:
        probability: (height, width) float32 in [0, 1], of lung.
        field: the same of the field, if the model predicts it.
        sides: (height, width) uint8: mask.RIGHT or mask.LEFT, which lung each pixel would belong to.
        turns: by how many quarter turns counter-clockwise the image lies turned, 0 to 3.
        threshold: what lung lies above.
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

    Each lung is cut into thirds from its upper to its lower end, and each pixel's chance to be on the wrong side of the
    threshold is added up. The arguments are those of `measure_figures`.
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
    """Every GRID_STEP-th pixel, upright."""
    return np.rot90(grid[::GRID_STEP, ::GRID_STEP], -turns)


def _log(part: float) -> float:
    return float(np.log(max(part, MIN_LOG_SHARE)))


def _error(p: NDArray[np.float32], threshold: float) -> float:
    """1 - soft Dice; 1 where there is no lung."""
    lung = p[p > threshold]
    return float(1 - 2 * lung.sum() / (lung.size + p.sum())) if lung.size else 1.0


def _grown(mask: BoolGrid) -> BoolGrid:
    """The mask and what lies within EDGE_DISTANCE pixels of it, in rows and in columns."""
    for axis in (0, 1):
        grown = mask.copy()
        to, source = np.moveaxis(grown, axis, 0), np.moveaxis(mask, axis, 0)
        for shift in range(1, EDGE_DISTANCE + 1):
            to[shift:] |= source[:-shift]
            to[:-shift] |= source[shift:]
        mask = grown
    return mask


def _missed(field: BoolGrid, mask: BoolGrid, sides: NDArray[np.uint8]) -> float:
    """The larger one of both sides' shares of the field's outer third that the mask lacks."""
    field = ~_grown(~field)
    shares = []
    for side in (RIGHT, LEFT):
        own = field & (sides == side)
        counts = np.count_nonzero(own, axis=1, keepdims=True)
        place = own.cumsum(1)
        columns = np.flatnonzero(own.any(0))
        if not columns.size:
            continue
        # The outer third begins where the picture does, or ends where it does.
        first = columns.mean() < field.shape[1] / 2
        outer = own & ((place <= counts // 3) if first else (place > counts - counts // 3))
        shares.append(np.count_nonzero(outer & ~mask) / max(1, int(np.count_nonzero(outer))))
    return max(shares, default=0.0)
