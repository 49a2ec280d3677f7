"""The options of a segmentation."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_OPACITY = 0.2
"""Opacity of the lungs in overlays, 0 to 1, also on the page."""


@dataclass(frozen=True)
class Options:
    """How to make a mask.

    Attributes:
        threshold: a pixel is lung if its probability is above this, in (0, 1); None is the model's own, 0.5.
        clean: whether to remove small fragments and fill small holes (`mask.clean_probability`).
        upright: whether to detect rotated and inverted images and to segment them upright, with bone bright.
    """

    threshold: float | None = None
    clean: bool = True
    upright: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError unless the threshold is in (0, 1)."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError("the threshold must be between 0 and 1, both excluded")
