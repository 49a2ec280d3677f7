"""The expected Dice of a mask, and its doubtful parts."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from lungseg.model.card import FIGURES, Calibration, Card
from lungseg.model.preprocess import InputSpec, letterbox
from lungseg.pipeline.expected_dice import MaskFigures, doubtful_parts, estimate_dice, measure_figures
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.pose import Pose
from lungseg.pipeline.reasons import Decision, ImageFindings
from lungseg.pipeline.verdict import judge_mask

SIDE = 256


def grid() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return tuple(np.mgrid[:SIDE, :SIDE].astype(np.float32))  # type: ignore[return-value]


def lung(column: float, height: float = 80, softness: float = 1) -> NDArray[np.float32]:
    """Return the probability of one lung, an ellipse around (column, 128)."""
    rows, columns = grid()
    distance = np.hypot((columns - column) / 35, (rows - 128) / height)
    return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) * 35 / softness, -30, 30))), np.float32)


PAIR = np.maximum(lung(70), lung(186))
FIELD = np.maximum(lung(85, 90), lung(171, 90))
SIDES = np.where(np.arange(SIDE) < 128, np.uint8(RIGHT), np.uint8(LEFT)) * np.ones((SIDE, 1), np.uint8)


def figures_of(probability: NDArray[np.float32], field: NDArray[np.float32] | None = None) -> MaskFigures:
    return measure_figures(probability, field, SIDES, 0, 0.5)


def calibration(level: float) -> Calibration:
    """Return a calibration that expects this Dice of every mask."""
    zeros = dict.fromkeys(FIGURES, 0.0)
    return Calibration(float(np.log(1.01 - level)), zeros, zeros, zeros)


class TestMaskFigures:
    @pytest.mark.parametrize(
        ("name", "worse"),
        [
            ("error", np.maximum(lung(70), lung(186, softness=8))),
            ("outline", PAIR * (np.indices((SIDE, SIDE))[0] % 16 < 8)),
            ("inside", PAIR * 0.8),
            ("outside", np.maximum(PAIR, np.float32(0.1))),
            ("imbalance", np.maximum(lung(70), lung(186, height=30))),
        ],
    )
    def test_each_figure_rises_with_its_fault(self, name: str, worse: NDArray[np.float32]) -> None:
        assert getattr(figures_of(worse), name) > getattr(figures_of(PAIR), name) + 0.5

    def test_missed_is_the_share_of_the_outer_third(self) -> None:
        assert figures_of(FIELD, FIELD).missed == pytest.approx(0, abs=0.02)
        assert figures_of(lung(85, 90), FIELD).missed == pytest.approx(1, abs=0.02)
        lower = FIELD * (np.arange(SIDE) < 128)[:, np.newaxis]
        assert figures_of(lower, FIELD).missed == pytest.approx(0.5, abs=0.05)
        assert figures_of(lower, None).missed == 0

    @pytest.mark.parametrize("turns", [1, 2, 3])
    def test_rotation_does_not_change_the_figures(self, turns: int) -> None:
        faulty = np.maximum(lung(70), lung(186, height=50, softness=4))
        rotated = measure_figures(*(np.rot90(each, turns) for each in (faulty, FIELD, SIDES)), turns, 0.5)
        assert asdict(rotated) == pytest.approx(asdict(measure_figures(faulty, FIELD, SIDES, 0, 0.5)), abs=0.1)

    def test_figures_without_a_lung_are_finite(self) -> None:
        assert np.isfinite(list(asdict(figures_of(np.zeros((SIDE, SIDE), np.float32))).values())).all()


class TestDoubtfulParts:
    @pytest.mark.parametrize("turns", range(4))
    def test_unsure_third_is_named_in_every_rotation(self, turns: int) -> None:
        rows, _ = grid()
        unsure = np.where((rows > 160) & (SIDES == LEFT) & (PAIR > 0.5), np.float32(0.6), PAIR)
        parts = doubtful_parts(np.rot90(unsure, turns), np.rot90(SIDES, turns), turns, 0.5)
        assert parts == ("left lower",)

    def test_no_parts_without_a_lung(self) -> None:
        assert doubtful_parts(np.zeros((SIDE, SIDE), np.float32), SIDES, 0, 0.5) == ()


class TestCalibration:
    def test_figures_are_clipped_to_the_learned_range(self) -> None:
        one = dict.fromkeys(FIGURES, 1.0)
        learned = Calibration(-4.0, one | {"missed": 2.0}, dict.fromkeys(FIGURES, 0.0), dict.fromkeys(FIGURES, 0.1))
        near = MaskFigures(**dict.fromkeys(FIGURES, 0.1))
        far = MaskFigures(**dict.fromkeys(FIGURES, 100.0))
        assert estimate_dice(learned, far) == estimate_dice(learned, near) == pytest.approx(1.01 - np.exp(-3.3))

    def test_card_with_invalid_coefficients_is_refused(self) -> None:
        good = asdict(calibration(0.9))
        card = Card("net", InputSpec(), 0.5, "above threshold is lung; left and right lung in one mask", {}, {})
        kept = Card.from_json(replace(card, expected_dice=good).to_json())
        assert kept.calibration == calibration(0.9)
        assert Card.from_json(card.to_json()).calibration is None
        for bad in (good | {"intercept": None}, good | {"slopes": {}}, {}, good | {"intercept": float("nan")}, [1]):
            with pytest.raises((KeyError, TypeError, ValueError)):
                Card.from_json(replace(card, expected_dice=bad).to_json())  # type: ignore[arg-type]


class TestVerdict:
    @pytest.fixture
    def findings(self) -> ImageFindings:
        rows, _ = grid()
        unsure = np.where((rows > 160) & (SIDES == LEFT) & (PAIR > 0.5), np.float32(0.6), PAIR)
        lungs = SIDES * (unsure > 0.5)
        return ImageFindings(Pose(), letterbox(SIDE, SIDE, SIDE), None, unsure, None, SIDES, lungs, 0.5)

    def test_low_expected_dice_is_reviewed_and_located(self, findings: ImageFindings) -> None:
        verdict = judge_mask(1.0, findings, calibration(0.85))
        assert verdict.decision == Decision.REVIEW
        assert verdict.expected_dice == pytest.approx(0.85)
        assert verdict.doubtful_parts == ("left lower",)
        assert [reason.code for reason in verdict.reasons] == ["doubtful-mask"]
        assert "the left lung's lower third" in verdict.reasons[0].text

    def test_high_expected_dice_is_accepted_at_any_confidence(self, findings: ImageFindings) -> None:
        verdict = judge_mask(1.0, findings, calibration(0.97))
        assert verdict.confidence < 0.9
        assert (verdict.decision, verdict.doubtful_parts) == (Decision.ACCEPT, ())

    def test_confidence_decides_without_an_estimate(self, findings: ImageFindings) -> None:
        verdict = judge_mask(1.0, findings, None)
        assert verdict.expected_dice is None
        assert [reason.code for reason in verdict.reasons] == ["low-confidence"]
