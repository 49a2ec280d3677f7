"""The verdict on a mask: accept, review or reject, with reasons.

It depends on the view, on the mask's expected Dice and on the shape of the lungs. `lungseg.pipeline.reasons` lists the
reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lungseg.model.card import Calibration
from lungseg.pipeline.expected_dice import doubtful_parts, estimate_dice, measure_figures
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.reasons import DOUBTFUL_MASK, REASONS, Decision, Evidence, ImageFindings, Reason


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


def judge_mask(frontal: float, findings: ImageFindings, calibration: Calibration | None) -> Verdict:
    """Return the verdict on one image.

    Args:
        frontal: the probability that it is a frontal chest radiograph.
        findings: what was found in it.
        calibration: the model's; None gives no expected Dice.
    """
    lungs = findings.lungs
    right, left = (int(np.count_nonzero(lungs == label)) for label in (RIGHT, LEFT))
    expected = _expected_dice(findings, calibration) if right + left > 0 and calibration else None
    confidence = mask_confidence(findings.probability)
    evidence = Evidence(frontal, findings, confidence, right, left, expected)
    reasons = tuple(reason for reason in REASONS if reason.applies(evidence))
    if DOUBTFUL_MASK not in reasons:
        return Verdict(reasons, frontal, confidence, expected)
    parts = doubtful_parts(findings.probability, findings.sides, findings.pose.turns, findings.threshold)
    reasons = tuple(_located(reason, parts) if reason is DOUBTFUL_MASK else reason for reason in reasons)
    return Verdict(reasons, frontal, confidence, expected, parts)


def mask_confidence(probability: NDArray[np.float32]) -> float:
    """Return the mean of 2p - 1 over the pixels with p > 0.5; 0 if there are none.

    Args:
        probability: (height, width) float32 in [0, 1].
    """
    lung = probability[probability > 0.5]
    return float(lung.mean() * 2 - 1) if lung.size else 0.0


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
