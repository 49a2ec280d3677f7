"""The reasons of a verdict, and when each applies.

A new reason is one entry of REASONS. Each limit is based on the validation images: `python -m model_export verdict
--split validation` writes their figures to verdicts.csv.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lungseg.decode.radiograph import Spacing
from lungseg.model.preprocess import Geometry
from lungseg.pipeline.pose import Pose

MIN_FRONTAL, MIN_SURE_FRONTAL = 0.3, 0.9
"""Below the first an image is rejected, below the second reviewed. Of the 527 validation images, which include children
and portable X-rays, 99 % are above 0.975."""

MIN_EXPECTED_DICE = 0.935
"""Below it a mask is reviewed: 93 % of the masks with Dice below 0.90, and 2.5 % of those with 0.95 or more, of images
as they are and degraded (`python -m model_export expect`, held-out patients)."""

MIN_CONFIDENCE, MIN_SURE_CONFIDENCE = 0.6, 0.9
"""Below the first a mask is rejected: the network sees no lungs. Below the second it is reviewed if the model gives no
expected Dice."""

MIN_LUNG_RATIO = 0.2
"""The smaller lung's area, as a fraction of the larger one's."""

MAX_BORDER_SHARE = 0.15
"""The share of one border of the image that is lung."""

MIN_SHARP_SIDE = 200
"""Pixels: less than half the network's grid, where the edge of a lung is blurred by a pixel on each side."""

MIN_LUNG_AREA, MAX_LUNG_AREA = 10_000, 100_000
"""Square millimetres of both lungs. Of Montgomery's 138 images, the smallest mask has 14,900 and the largest 59,900."""


class Decision(StrEnum):
    """What to do with a mask."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


@dataclass(frozen=True)
class ImageFindings:
    """The findings in an image, on the network's grid; arrays are (height, width).

    Attributes:
        pose: the detected pose of the image.
        geometry: how this grid maps to the image's.
        spacing: the pixel spacing of the image; None if it is unknown.
        probability, field: float32 in [0, 1], the network's output; the field is None if the model has none.
        sides: uint8, mask.RIGHT or mask.LEFT: the lung that each pixel would belong to.
        lungs: the same in the lungs, 0 elsewhere.
        threshold: a pixel is lung if its probability is above this.
    """

    pose: Pose
    geometry: Geometry
    spacing: Spacing | None
    probability: NDArray[np.float32]
    field: NDArray[np.float32] | None
    sides: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    threshold: float


@dataclass(frozen=True)
class Evidence:
    """What reasons are checked against.

    Attributes:
        frontal: the probability that the image is a frontal chest radiograph.
        findings: the findings in the image.
        confidence: `mask_confidence`.
        right, left: pixels of each lung on the network's grid.
        expected_dice: the expected Dice of the mask; None if the model gives none, or there is no lung.
    """

    frontal: float
    findings: ImageFindings
    confidence: float
    right: int
    left: int
    expected_dice: float | None

    @property
    def has_lung(self) -> bool:
        """Whether there is any lung."""
        return self.right + self.left > 0


@dataclass(frozen=True)
class Reason:
    """A reason for a decision; with "accept" it is only a note.

    Attributes:
        code: stable name, for programs.
        decision: the decision that this reason leads to.
        text: a sentence for people.
        applies: returns whether it applies to an image.
    """

    code: str
    decision: Decision
    text: str
    applies: Callable[[Evidence], bool] = field(repr=False, compare=False)


def _is_not_frontal(found: Evidence) -> bool:
    return found.frontal < MIN_FRONTAL or (found.has_lung and found.confidence < MIN_CONFIDENCE)


def _is_doubtful(found: Evidence) -> bool:
    return found.expected_dice is not None and found.expected_dice < MIN_EXPECTED_DICE


def _is_unsure(found: Evidence) -> bool:
    unsure = MIN_CONFIDENCE <= found.confidence < MIN_SURE_CONFIDENCE
    return found.expected_dice is None and found.has_lung and unsure


def _is_one_lung(found: Evidence) -> bool:
    return found.has_lung and min(found.right, found.left) < MIN_LUNG_RATIO * max(found.right, found.left)


def _is_cut_off(found: Evidence) -> bool:
    lungs = found.findings.lungs
    borders = (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])
    return max(float((border > 0).mean()) for border in borders) > MAX_BORDER_SHARE


def _is_implausible(found: Evidence) -> bool:
    """Return whether lungs of this area cannot be an adult's; False if the spacing is unknown."""
    spacing, geometry = found.findings.spacing, found.findings.geometry
    if spacing is None or not found.has_lung:
        return False
    height, width = found.findings.lungs.shape
    scale = geometry.height / height * geometry.width / width
    return not MIN_LUNG_AREA <= (found.right + found.left) * scale * spacing.row * spacing.column <= MAX_LUNG_AREA


DOUBTFUL_MASK = Reason(
    "doubtful-mask", Decision.REVIEW, "Parts of the mask may be wrong: its expected Dice is low.", _is_doubtful
)

REASONS: tuple[Reason, ...] = (
    Reason("not-frontal", Decision.REJECT, "This does not look like a frontal chest radiograph.", _is_not_frontal),
    Reason("no-lung", Decision.REJECT, "No lung was found.", lambda found: not found.has_lung),
    Reason(
        "doubtful-view",
        Decision.REVIEW,
        "This may not be a frontal chest radiograph.",
        lambda found: MIN_FRONTAL <= found.frontal < MIN_SURE_FRONTAL,
    ),
    DOUBTFUL_MASK,
    Reason("low-confidence", Decision.REVIEW, "The network is unsure where the lungs are.", _is_unsure),
    Reason("one-lung", Decision.REVIEW, "Only one lung was found, or one is far smaller than the other.", _is_one_lung),
    Reason(
        "cut-off",
        Decision.REVIEW,
        "The lungs reach the border of the image: parts of them may be missing.",
        _is_cut_off,
    ),
    Reason(
        "small-film",
        Decision.REVIEW,
        "The image has too few pixels for accurate lung edges.",
        lambda found: min(found.findings.geometry.height, found.findings.geometry.width) < MIN_SHARP_SIDE,
    ),
    Reason(
        "mirrored",
        Decision.REVIEW,
        "The image may be mirrored: right and left may be swapped.",
        lambda found: found.findings.pose.mirrored,
    ),
    Reason(
        "implausible-size",
        Decision.ACCEPT,
        "By the file's pixel spacing, the lungs are too small or too large for an adult; the spacing may be wrong.",
        _is_implausible,
    ),
    Reason(
        "turned",
        Decision.ACCEPT,
        "The image is rotated; the mask has the same rotation.",
        lambda found: found.findings.pose.turns != 0,
    ),
    Reason(
        "inverted",
        Decision.ACCEPT,
        "The greys of the image are inverted: bone is dark.",
        lambda found: found.findings.pose.inverted,
    ),
)
"""All reasons, the most serious first."""
