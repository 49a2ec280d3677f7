"""What a caller may choose about one image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How to make a mask.

    Attributes:
        threshold: what lung lies above, in (0, 1); None is the model's own, 0.5.
        clean: whether specks are dropped and holes filled (`mask.clean`).
        upright: whether turned and inverted images are recognised and segmented as if they were not.
    """

    threshold: float | None = None
    clean: bool = True
    upright: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError unless the threshold lies in (0, 1)."""
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ValueError("the threshold must lie between 0 and 1, both excluded")
