"""The verdict on a mask: accept, review or reject, with reasons.

It depends on the view, on the mask's expected Dice and on the shape of the lungs. Each limit is based on the validation
images: `python -m model_export verdict --split validation` writes their figures to verdicts.csv.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lungseg.decode.radiograph import Spacing
from lungseg.model.card import Calibration
from lungseg.model.preprocess import Geometry
from lungseg.pipeline.expected_dice import doubtful_parts, estimate_dice, measure_figures
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.pose import Pose


class Decision(StrEnum):
    """What to do with a mask."""

    ACCEPT = "accept"
    REVIEW = "review"
    REJECT = "reject"


@dataclass(frozen=True)
class Reason:
    """A reason for a decision; with "accept" it is only a note.

    Attributes:
        code: stable name, for programs.
        decision: the decision that this reason leads to.
        text: a sentence for people.
    """

    code: str
    decision: Decision
    text: str


NOT_FRONTAL = Reason("not-frontal", Decision.REJECT, "This does not look like a frontal chest radiograph.")
NO_LUNG = Reason("no-lung", Decision.REJECT, "No lung was found.")
DOUBTFUL_VIEW = Reason("doubtful-view", Decision.REVIEW, "This may not be a frontal chest radiograph.")
DOUBTFUL_MASK = Reason("doubtful-mask", Decision.REVIEW, "Parts of the mask may be wrong: its expected Dice is low.")
LOW_CONFIDENCE = Reason("low-confidence", Decision.REVIEW, "The network is unsure where the lungs are.")
ONE_LUNG = Reason("one-lung", Decision.REVIEW, "Only one lung was found, or one is far smaller than the other.")
CUT_OFF = Reason("cut-off", Decision.REVIEW, "The lungs reach the border of the image: parts of them may be missing.")
SMALL_IMAGE = Reason("small-film", Decision.REVIEW, "The image has too few pixels for accurate lung edges.")
MIRRORED_IMAGE = Reason("mirrored", Decision.REVIEW, "The image may be mirrored: right and left may be swapped.")
IMPLAUSIBLE_SIZE = Reason(
    "implausible-size",
    Decision.ACCEPT,
    "By the file's pixel spacing, the lungs are too small or too large for an adult; the spacing may be wrong.",
)
ROTATED_IMAGE = Reason("turned", Decision.ACCEPT, "The image is rotated; the mask has the same rotation.")
INVERTED_IMAGE = Reason("inverted", Decision.ACCEPT, "The greys of the image are inverted: bone is dark.")

REASONS = (
    NOT_FRONTAL,
    NO_LUNG,
    DOUBTFUL_VIEW,
    DOUBTFUL_MASK,
    LOW_CONFIDENCE,
    ONE_LUNG,
    CUT_OFF,
    SMALL_IMAGE,
    MIRRORED_IMAGE,
    IMPLAUSIBLE_SIZE,
    ROTATED_IMAGE,
    INVERTED_IMAGE,
)
"""All reasons, the most serious first."""

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


@dataclass(frozen=True)
class Verdict:
    """Whether to rely on a mask.

    Attributes:
        reasons: the most serious first; with "accept" they are notes.
        frontal: the probability that the image is a frontal chest radiograph.
        confidence: how far the network's probability is from 0.5 in the lungs, 0 to 1.
        expected_dice: the expected Dice of the mask, 0 to 1; None if the model gives none, or there is no lung.
        doubtful_parts: where the mask is most likely wrong, such as "left lower", the most doubtful first; empty if the
            mask is not doubtful.
    """

    reasons: tuple[Reason, ...]
    frontal: float
    confidence: float
    expected_dice: float | None = None
    doubtful_parts: tuple[str, ...] = ()

    @property
    def decision(self) -> Decision:
        """The most serious decision of the reasons."""
        order = list(Decision)
        return max((reason.decision for reason in self.reasons), key=order.index, default=Decision.ACCEPT)


def mask_confidence(probability: NDArray[np.float32]) -> float:
    """Return the mean of 2p - 1 over the pixels with p > 0.5; 0 if there are none.

    Args:
        probability: (height, width) float32 in [0, 1].
    """
    lung = probability[probability > 0.5]
    return float(lung.mean() * 2 - 1) if lung.size else 0.0


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


def judge_mask(frontal: float, findings: ImageFindings, calibration: Calibration | None) -> Verdict:
    """Return the verdict on one image.

    Args:
        frontal: the probability that it is a frontal chest radiograph.
        findings: what was found in it.
        calibration: the model's; None gives no expected Dice.
    """
    pose, geometry, lungs = findings.pose, findings.geometry, findings.lungs
    sure = mask_confidence(findings.probability)
    right, left = (int(np.count_nonzero(lungs == label)) for label in (RIGHT, LEFT))
    found = right + left > 0
    expected = _expected_dice(findings, calibration) if found and calibration else None
    borders = (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])
    applies = {
        NOT_FRONTAL: frontal < MIN_FRONTAL or (found and sure < MIN_CONFIDENCE),
        NO_LUNG: not found,
        DOUBTFUL_VIEW: MIN_FRONTAL <= frontal < MIN_SURE_FRONTAL,
        DOUBTFUL_MASK: expected is not None and expected < MIN_EXPECTED_DICE,
        LOW_CONFIDENCE: expected is None and found and MIN_CONFIDENCE <= sure < MIN_SURE_CONFIDENCE,
        ONE_LUNG: found and min(right, left) < MIN_LUNG_RATIO * max(right, left),
        CUT_OFF: max(float((border > 0).mean()) for border in borders) > MAX_BORDER_SHARE,
        SMALL_IMAGE: min(geometry.height, geometry.width) < MIN_SHARP_SIDE,
        MIRRORED_IMAGE: pose.mirrored,
        IMPLAUSIBLE_SIZE: found and not _is_plausible(findings, right + left),
        ROTATED_IMAGE: pose.turns != 0,
        INVERTED_IMAGE: pose.inverted,
    }
    reasons = tuple(reason for reason in REASONS if applies[reason])
    if not applies[DOUBTFUL_MASK]:
        return Verdict(reasons, frontal, sure, expected)
    parts = doubtful_parts(findings.probability, findings.sides, pose.turns, findings.threshold)
    reasons = tuple(_located(reason, parts) if reason is DOUBTFUL_MASK else reason for reason in reasons)
    return Verdict(reasons, frontal, sure, expected, parts)


def _expected_dice(findings: ImageFindings, calibration: Calibration) -> float:
    figures = measure_figures(
        findings.probability, findings.field, findings.sides, findings.pose.turns, findings.threshold
    )
    return estimate_dice(calibration, figures)


def _located(reason: Reason, parts: tuple[str, ...]) -> Reason:
    """Return DOUBTFUL_MASK with a text that names the doubtful parts; unchanged if there are none."""
    where = {
        side: " and ".join(part.removeprefix(f"{side} ") for part in parts if part.startswith(side))
        for side in ("right", "left")
    }
    named = " and ".join(f"the {side} lung's {thirds} third" for side, thirds in where.items() if thirds)
    return replace(reason, text=f"The mask may be wrong, most likely in {named}.") if named else reason


def _is_plausible(findings: ImageFindings, pixels: int) -> bool:
    """Return whether this many pixels of the grid can be an adult's lungs; True if the spacing is unknown."""
    if findings.spacing is None:
        return True
    height, width = findings.lungs.shape
    scale = findings.geometry.height / height * findings.geometry.width / width
    return MIN_LUNG_AREA <= pixels * scale * findings.spacing.row * findings.spacing.column <= MAX_LUNG_AREA
