"""Can the mask be relied on? A verdict with reasons, from the view, the network's own confidence and the lungs' shape.

The figures behind each limit are those of the validation films: `python -m model_export verdict --split validation`
writes them to verdicts.csv.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from app.mask import LEFT, RIGHT
from app.pose import Pose
from app.preprocess import Geometry


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
LOW_CONFIDENCE = Reason("low-confidence", Decision.REVIEW, "The network is unsure where the lungs are.")
ONE_LUNG = Reason("one-lung", Decision.REVIEW, "Only one lung was found, or one is far smaller than the other.")
CUT_OFF = Reason("cut-off", Decision.REVIEW, "The lungs reach the film's border: a part of them may be missing.")
SMALL_FILM = Reason("small-film", Decision.REVIEW, "The film has so few pixels that the lungs' edges are a guess.")
MIRRORED = Reason("mirrored", Decision.REVIEW, "The film may be mirrored: right and left may be exchanged.")
TURNED = Reason("turned", Decision.ACCEPT, "The film is turned; the mask lies as the film does.")
INVERTED = Reason("inverted", Decision.ACCEPT, "The film's greys are inverted: bone is dark.")

REASONS = (
    NOT_FRONTAL,
    NO_LUNG,
    DOUBTFUL_VIEW,
    LOW_CONFIDENCE,
    ONE_LUNG,
    CUT_OFF,
    SMALL_FILM,
    MIRRORED,
    TURNED,
    INVERTED,
)
"""All of them, the gravest first."""

FRONTAL, SURELY_FRONTAL = 0.3, 0.9
"""Below the first a film is rejected, below the second reviewed; the validation films lie above 0.999."""

CONFIDENT, HARDLY_CONFIDENT = 0.9, 0.6
"""Below the first a mask is reviewed, below the second rejected: what the network sees are no lungs. The validation
films lie above 0.918."""

SMALLER_LUNG = 0.2
"""The smaller lung's area as a part of the larger one's."""

BORDER = 0.15
"""How much of one border of the film is lung."""

SMALL_SIDE = 200
"""Pixels: half the network's grid and less, where an edge of the lung has a pixel of blur to each side."""


@dataclass(frozen=True)
class Verdict:
    """Whether to rely on a mask.

    Attributes:
        reasons: the gravest first; with "accept" they are notes.
        frontal: the probability that the film is a frontal chest radiograph.
        confidence: how far the network is from 0.5 where it sees lung, 0 to 1.
    """

    reasons: tuple[Reason, ...]
    frontal: float
    confidence: float

    @property
    def decision(self) -> Decision:
        """The gravest that a reason leads to."""
        order = list(Decision)
        return max((reason.decision for reason in self.reasons), key=order.index, default=Decision.ACCEPT)


def confidence(probability: NDArray[np.float32]) -> float:
    """The mean of 2p - 1 over the pixels above 0.5; 0 if there are none.

    Args:
        probability: (height, width) float32 in [0, 1].
    """
    lung = probability[probability > 0.5]
    return float(lung.mean() * 2 - 1) if lung.size else 0.0


def judge(
    frontal: float, pose: Pose, geometry: Geometry, probability: NDArray[np.float32], lungs: NDArray[np.uint8]
) -> Verdict:
    """The verdict on one film.

    Args:
        frontal: the probability that it is a frontal chest radiograph.
        pose: how it was taken to lie.
        probability: (box_height, box_width), what the network gave.
        lungs: (box_height, box_width) uint8: 0, RIGHT or LEFT.
    """
    sure = confidence(probability)
    right, left = (int(np.count_nonzero(lungs == label)) for label in (RIGHT, LEFT))
    found = right + left > 0
    borders = (lungs[0], lungs[-1], lungs[:, 0], lungs[:, -1])
    holds = {
        NOT_FRONTAL: frontal < FRONTAL or (found and sure < HARDLY_CONFIDENT),
        NO_LUNG: not found,
        DOUBTFUL_VIEW: FRONTAL <= frontal < SURELY_FRONTAL,
        LOW_CONFIDENCE: found and HARDLY_CONFIDENT <= sure < CONFIDENT,
        ONE_LUNG: found and min(right, left) < SMALLER_LUNG * max(right, left),
        CUT_OFF: max(float((border > 0).mean()) for border in borders) > BORDER,
        SMALL_FILM: min(geometry.height, geometry.width) < SMALL_SIDE,
        MIRRORED: pose.mirrored,
        TURNED: pose.turns != 0,
        INVERTED: pose.inverted,
    }
    return Verdict(tuple(reason for reason in REASONS if holds[reason]), frontal, sure)
