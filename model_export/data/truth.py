"""Targets from lung masks and field masks, and where they are unknown.

A field is both lungs and the heart's shadow between them, from chest wall to spine (V7's masks). Outside it there is no
lung. The outer third of each of its sides is lung, however white; between them lung is unknown. A lung mask only says
that the field contains the lungs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from model_export.data.arrays import MaskArray

FIELD_BORDER = 5 / 512
"""Width of the band along a field's border where lung is unknown, relative to the square's side: annotators disagree
by as much."""


def split_known(mask: MaskArray, kind: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the targets for lung and field, and where they are unknown.

    Args:
        mask: the prepared square, (size, size).
        kind: what it holds, "lung" or "field".

    Returns:
        target and unknown, (2, size, size) float32 each, 0 or 1; first lung, then field.
    """
    if kind == "lung":
        return np.stack([mask, mask]).astype(np.float32), np.stack([np.zeros_like(mask), ~mask]).astype(np.float32)
    inner, outer = _without_border(mask)
    # In a row with a single run, the outer third is ambiguous.
    both = np.array([np.count_nonzero(np.diff(row.astype(np.int8), prepend=0) > 0) > 1 for row in mask])
    lateral = lateral_third(mask) & inner & both[:, np.newaxis]
    target = np.stack([lateral, mask]).astype(np.float32)
    return target, np.stack([outer & ~lateral, np.zeros_like(mask)]).astype(np.float32)


def lateral_third(field: MaskArray) -> MaskArray:
    """Return the outer third of the first and the last run of each row of a field, which is always lung."""
    lateral = np.zeros_like(field)
    for row in np.flatnonzero(field.any(1)):
        columns = np.flatnonzero(field[row])
        runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1)
        lateral[row, runs[0][: max(1, len(runs[0]) // 3)]] = True
        if len(runs) > 1:
            lateral[row, runs[-1][-max(1, len(runs[-1]) // 3) :]] = True
    return lateral


def score_field(mask: MaskArray, field: MaskArray) -> tuple[float, float]:
    """Return the share of a lung mask outside a field, and the share of the field's lateral third inside the mask.

    A band of FIELD_BORDER on both sides of the border is ignored.
    """
    inner, outer = _without_border(field)
    lateral = lateral_third(field) & inner
    return (
        float((mask & ~outer).sum() / max(1, mask.sum())),
        float((mask & lateral).sum() / max(1, lateral.sum())),
    )


def _without_border(field: MaskArray) -> tuple[MaskArray, MaskArray]:
    """Return a field eroded and dilated by FIELD_BORDER."""
    steps = max(1, round(FIELD_BORDER * max(field.shape)))
    return ndimage.binary_erosion(field, iterations=steps), ndimage.binary_dilation(field, iterations=steps)
