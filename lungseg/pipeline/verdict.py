"""Can the mask be relied on? A verdict with reasons, from the view, the mask's expected Dice and the lungs' shape.

The figures behind each limit are those of the validation images: `python -m model_export verdict --split validation`
writes them to verdicts.csv.
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
    """Something that speaks for a decision, or is merely to be known if that is "accept".

    Attributes:
        code: stable name, for programs.
        decision: what it leads to by itself.
        text: the same for a person.
    """

    code: str
    decision: Decision
    text: str


NOT_FRONTAL = Reason("not-frontal", Decision.REJECT, "This does not look like a frontal chest radiograph.")
NO_LUNG = Reason("no-lung", Decision.REJECT, "No lung was found.")
DOUBTFUL_VIEW = Reason("doubtful-view", Decision.REVIEW, "This may not be a frontal chest radiograph.")
DOUBTFUL_MASK = Reason("doubtful-mask", Decision.REVIEW, "The mask may be wrong in part: its expected Dice is low.")
LOW_CONFIDENCE = Reason("low-confidence", Decision.REVIEW, "The network is unsure where the lungs are.")
ONE_LUNG = Reason("one-lung", Decision.REVIEW, "Only one lung was found, or one is far smaller than the other.")
CUT_OFF = Reason("cut-off", Decision.REVIEW, "The lungs reach the image's border: a part of them may be missing.")
SMALL_IMAGE = Reason("small-film", Decision.REVIEW, "The image has so few pixels that the lungs' edges are a guess.")
MIRRORED_IMAGE = Reason("mirrored", Decision.REVIEW, "The image may be mirrored: right and left may be exchanged.")
IMPLAUSIBLE_SIZE = Reason(
    "implausible-size",
    Decision.ACCEPT,
    "By the file's pixel spacing the lungs are too small or too large for an adult's; the spacing may be wrong.",
)
ROTATED_IMAGE = Reason("turned", Decision.ACCEPT, "The image is turned; the mask lies as the image does.")
INVERTED_IMAGE = Reason("inverted", Decision.ACCEPT, "The image's greys are inverted: bone is dark.")

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
"""All of them, the gravest first."""

MIN_FRONTAL, MIN_SURE_FRONTAL = 0.3, 0.9
"""Below the first an image is rejected, below the second reviewed. Of the 527 validation images,
children's and portable ones among them, 99 % lie above 0.975."""

MIN_EXPECTED_DICE = 0.935
"""Below it a mask is reviewed: 93 % of the masks below Dice 0.90, and 2.5 % of those of 0.95 and more, of images as
they are and made worse (`python -m model_export expect`, patients left out)."""

MIN_SURE_CONFIDENCE, MIN_CONFIDENCE = 0.9, 0.6
"""Below the second a mask is rejected: what the network sees are no lungs. Below the first it is reviewed if the model
gives no expected Dice."""

MIN_LUNG_RATIO = 0.2
"""The smaller lung's area as a part of the larger one's."""

MAX_BORDER_SHARE = 0.15
"""How much of one border of the image is lung."""

MIN_SHARP_SIDE = 200
"""Pixels: half the network's grid and less, where an edge of the lung has a pixel of blur to each side."""


MIN_LUNG_AREA, MAX_LUNG_AREA = 10_000, 100_000
"""Square millimetres of both lungs. Of Montgomery's 138 images, the smallest mask has 14,900 and the largest 59,900."""


@dataclass(frozen=True)
class Verdict:
    """Whether to rely on a mask.

    Attributes:
        reasons: the gravest first; with "accept" they are notes.
        frontal: the probability that the image is a frontal chest radiograph.
        confidence: how far the network is from 0.5 where it sees lung, 0 to 1.
        expected_dice: the Dice that the mask may be expected to reach, 0 to 1; None if the model gives none, or there
            is no lung.
        doubtful_parts: where the mask is most likely wrong, as "left lower", the most doubtful first; empty if the mask
            is not doubtful.
    """

    reasons: tuple[Reason, ...]
    frontal: float
    confidence: float
    expected_dice: float | None = None
    doubtful_parts: tuple[str, ...] = ()

    @property
    def decision(self) -> Decision:
        """The gravest that a reason leads to."""
        order = list(Decision)
        return max((reason.decision for reason in self.reasons), key=order.index, default=Decision.ACCEPT)


def mask_confidence(probability: NDArray[np.float32]) -> float:
    """The mean of 2p - 1 over the pixels above 0.5; 0 if there are none.

    Args:
        probability: (height, width) float32 in [0, 1].
    """
    lung = probability[probability > 0.5]
    return float(lung.mean() * 2 - 1) if lung.size else 0.0


@dataclass(frozen=True)
class ImageFindings:
    """What was found in an image, on the network's grid, (height, width) each.

    Attributes:
        pose: how the image was taken to lie.
        geometry: how the image's grid and this one fit together.
        spacing: the image's own; None if it is not known.
        probability, field: float32 in [0, 1], what the network gave; the field's is None without one.
        sides: uint8, mask.RIGHT or mask.LEFT: which lung each pixel would belong to.
        lungs: the same where there is lung, 0 elsewhere.
        threshold: what lung lies above.
    """

    pose: Pose
    geometry: Geometry
    spacing: Spacing | None
    probability: NDArray[np.float32]
    field: NDArray[np.float32] | None
    sides: NDArray[np.uint8]
    lungs: NDArray[np.uint8]
    threshold: float


def judge_mask(frontal: float, finding: ImageFindings, calibration: Calibration | None) -> Verdict:
    """Return the verdict on one image.

    Args:
        frontal: the probability that it is a frontal chest radiograph.
        finding: what was found in it.
        calibration: the model's; None gives no expected Dice.
    """
    pose, geometry, lungs = finding.pose, finding.geometry, finding.lungs
    sure = mask_confidence(finding.probability)
    right, left = (int(np.count_nonzero(lungs == label)) for label in (RIGHT, LEFT))
    found = right + left > 0
    expected = _expected_dice(finding, calibration) if found and calibration else None
    borders = (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])
    holds = {
        NOT_FRONTAL: frontal < MIN_FRONTAL or (found and sure < MIN_CONFIDENCE),
        NO_LUNG: not found,
        DOUBTFUL_VIEW: MIN_FRONTAL <= frontal < MIN_SURE_FRONTAL,
        DOUBTFUL_MASK: expected is not None and expected < MIN_EXPECTED_DICE,
        LOW_CONFIDENCE: expected is None and found and MIN_CONFIDENCE <= sure < MIN_SURE_CONFIDENCE,
        ONE_LUNG: found and min(right, left) < MIN_LUNG_RATIO * max(right, left),
        CUT_OFF: max(float((border > 0).mean()) for border in borders) > MAX_BORDER_SHARE,
        SMALL_IMAGE: min(geometry.height, geometry.width) < MIN_SHARP_SIDE,
        MIRRORED_IMAGE: pose.mirrored,
        IMPLAUSIBLE_SIZE: found and not _is_plausible(finding, right + left),
        ROTATED_IMAGE: pose.turns != 0,
        INVERTED_IMAGE: pose.inverted,
    }
    reasons = tuple(reason for reason in REASONS if holds[reason])
    if not holds[DOUBTFUL_MASK]:
        return Verdict(reasons, frontal, sure, expected)
    parts = doubtful_parts(finding.probability, finding.sides, pose.turns, finding.threshold)
    reasons = tuple(_located(reason, parts) if reason is DOUBTFUL_MASK else reason for reason in reasons)
    return Verdict(reasons, frontal, sure, expected, parts)


def _expected_dice(finding: ImageFindings, calibration: Calibration) -> float:
    figures = measure_figures(finding.probability, finding.field, finding.sides, finding.pose.turns, finding.threshold)
    return estimate_dice(calibration, figures)


def _located(reason: Reason, parts: tuple[str, ...]) -> Reason:
    """DOUBTFUL_MASK with a text that says where the doubt is; as it was if that is nowhere in particular."""
    where = {
        side: " and ".join(part.removeprefix(f"{side} ") for part in parts if part.startswith(side))
        for side in ("right", "left")
    }
    named = " and ".join(f"the {side} lung's {thirds} third" for side, thirds in where.items() if thirds)
    return replace(reason, text=f"The mask may be wrong, most likely in {named}.") if named else reason


def _is_plausible(finding: ImageFindings, pixels: int) -> bool:
    """Whether so many pixels of the grid can be an adult's lungs; without a spacing nothing speaks against it."""
    if finding.spacing is None:
        return True
    height, width = finding.lungs.shape
    scale = finding.geometry.height / height * finding.geometry.width / width
    return MIN_LUNG_AREA <= pixels * scale * finding.spacing.row * finding.spacing.column <= MAX_LUNG_AREA
