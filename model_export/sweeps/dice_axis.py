"""A plot axis for Dice that is finer near 1, where steps from 0.90 to 0.95 and from 0.98 to 0.99 mean the same.

Its unit is -log10(1 - Dice).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

DICE_TICKS = (
    0,
    0.2,
    0.4,
    0.6,
    0.7,
    0.8,
    0.85,
    0.9,
    0.92,
    0.94,
    0.95,
    0.96,
    0.97,
    0.975,
    0.98,
    0.985,
    0.99,
    0.995,
    0.999,
)


def scale_dice(axis: Axes, values: Sequence[float]) -> None:
    """Scale the vertical axis for Dice so that all ``values`` (in [0, 1]) fit, with a margin."""
    axis.set_yscale("function", functions=(_forward, _back))
    low, high = _forward(np.array([min(values), max(values)]))
    margin = max(0.06 * (high - low), 0.01)
    bottom, top = _back(np.array([max(low - margin, 0), high + margin]))
    axis.set_ylim(bottom, top)
    shown = [tick for tick in DICE_TICKS if bottom <= tick <= top]
    # All values may lie between two ticks.
    axis.set_yticks(shown if len(shown) > 1 else np.linspace(min(values), max(values), 3))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:.4f}".rstrip("0").rstrip(".") or "0")
    axis.yaxis.set_minor_locator(NullLocator())


def _forward(dice: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.log10(1 - np.clip(dice, 0, 0.9999))


def _back(place: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 - 10.0 ** -np.asarray(place)
