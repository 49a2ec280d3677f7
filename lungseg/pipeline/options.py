"""The options of a segmentation."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_OPACITY = 0.2
"""Opacity of the lungs in overlays, 0 to 1, also on the page."""


@dataclass(frozen=True)
class Options:
    """How to make a mask, and to draw it.

    Attributes:
        threshold: a pixel is lung if its probability is above this, in (0, 1); None is the model's own, 0.5.
        clean: whether to remove small fragments and fill small holes (`mask.clean_probability`).
        upright: whether to detect rotated and inverted images and to segment them upright, with bone bright.
        opacity: of the lungs in overlays, in [0, 1]; it changes no other output (`Format.is_drawn`).
    """

    threshold: float | None = None
    clean: bool = True
    upright: bool = True
    opacity: float = DEFAULT_OPACITY

    def __post_init__(self) -> None:
        """Raise ValueError unless the threshold is in (0, 1) and the opacity in [0, 1]."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError("the threshold must be between 0 and 1, both excluded")
        if not 0 <= self.opacity <= 1:
            raise ValueError("the opacity must be from 0 to 1")
