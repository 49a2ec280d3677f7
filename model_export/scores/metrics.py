"""Metrics of a mask against its target. Both are (height, width) bool, True = lung, at full image size."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import NDArray

from model_export.data.arrays import MaskArray

# MONAI warns about an argument that it passes itself.
warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)


METRIC_NAMES = ("accuracy", "dice", "jaccard", "bce", "hd95", "assd")


def score_mask(probability: NDArray[np.float32], mask: MaskArray, target: MaskArray) -> dict[str, float]:
    """Return all metrics of one image by name; hd95 and assd in image pixels, infinite if the mask is empty."""
    hd95, assd = surface_distances(mask, target)
    return {
        "accuracy": float(np.mean(mask == target)),
        "dice": dice(mask, target),
        "jaccard": jaccard(mask, target),
        "bce": bce(probability, target),
        "hd95": hd95,
        "assd": assd,
    }


def dice(mask: MaskArray, target: MaskArray) -> float:
    """Return 2 |A and B| / (|A| + |B|); 1 if both are empty."""
    total = int(mask.sum()) + int(target.sum())
    return 2 * int((mask & target).sum()) / total if total else 1.0


def jaccard(mask: MaskArray, target: MaskArray) -> float:
    """Return |A and B| / |A or B|; 1 if both are empty."""
    union = int((mask | target).sum())
    return int((mask & target).sum()) / union if union else 1.0


def bce(probability: NDArray[np.float32], target: MaskArray) -> float:
    """Return the mean binary cross-entropy over the image, in nats; probabilities are clipped to 1e-6."""
    right = np.clip(np.where(target, probability, 1 - probability), 1e-6, 1)
    return float(-np.log(right).mean())


def surface_distances(mask: MaskArray, target: MaskArray) -> tuple[float, float]:
    """Return HD95 and ASSD, in pixels.

    HD95 is the larger of the two directed 95th percentiles of surface distances; ASSD the mean over both surfaces
    (MONAI's definitions).
    """
    if not mask.any() or not target.any():
        return np.inf, np.inf
    # Outside both masks there is no surface: crop to their bounding box with a margin of one pixel.
    either = np.pad(mask | target, 1)
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    window = slice(rows[0] - 1, rows[-1] + 2), slice(columns[0] - 1, columns[-1] + 2)
    a, b = (torch.from_numpy(np.pad(part, 1)[window].copy())[None, None] for part in (mask, target))
    hd95 = compute_hausdorff_distance(a, b, include_background=True, percentile=95)
    assd = compute_average_surface_distance(a, b, include_background=True, symmetric=True)
    return float(hd95), float(assd)
