"""The facts that travel inside a model's ONNX file, and the checks that they pass when they are read."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from lungseg.model import selfcheck
from lungseg.model.preprocess import InputSpec

METADATA_KEY = "lung_segmentation"
"""The ONNX metadata entry that holds a card as JSON. The other entry is the file's checksum."""

CARD_ERRORS = (KeyError, TypeError, ValueError, RecursionError)
"""Exceptions that reading an invalid card raises."""

OUTPUTS = ("lung", "field")
"""What a lung network predicts: lung, and in newer ones the field: both lungs and the heart's shadow between them."""

MASK_CONVENTION = "above threshold is lung; left and right lung in one mask"

FIGURES = ("error", "outline", "inside", "outside", "imbalance", "missed")
"""The figures of a mask that the expected Dice is estimated from (`pipeline.expected_dice.MaskFigures`)."""


@dataclass(frozen=True)
class Calibration:
    """The coefficients of the expected Dice: log(1.01 - Dice) as a linear function of a mask's figures.

    Attributes:
        intercept: the constant.
        slopes: by figure.
        low, high: the range of each figure in the data that it was learned from; figures beyond it are clipped.
    """

    intercept: float
    slopes: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Calibration:
        """Return the calibration that a card holds.

        Raises:
            KeyError, TypeError, ValueError: the facts are not a calibration.
        """
        tables = [{name: float(facts[key][name]) for name in FIGURES} for key in ("slopes", "low", "high")]
        numbers = [float(facts["intercept"]), *(value for table in tables for value in table.values())]
        if not np.isfinite(numbers).all():
            raise ValueError("a coefficient is not a number")
        return cls(numbers[0], *tables)


@dataclass(frozen=True)
class Card:
    """The card of a lung network. The export writes it, serving reads it, and no other file repeats its facts.

    Attributes:
        name: the model's name.
        input: size and normalisation of the network's input.
        threshold: a pixel is lung if its probability is above this.
        mask_convention: what True means.
        training: the images, their sets and digest, who drew their masks, and the training settings.
        metrics: scores of the checkpoint on the validation images.
        precision: "fp32" or "int8".
        quantised_from: digest of the FP32 file that an INT8 model was made from.
        self_check: an INT8 model's expected answer (`selfcheck`).
        outputs: what each output channel is, "lung" first; absent from files older than the second channel.
        expected_dice: the coefficients of `Calibration`; None if the model gives no estimate.
    """

    name: str
    input: InputSpec
    threshold: float
    mask_convention: str
    training: dict[str, Any]
    metrics: dict[str, Any]
    precision: str = "fp32"
    quantised_from: str | None = None
    self_check: list[float] | None = None
    outputs: tuple[str, ...] = OUTPUTS[:1]
    expected_dice: dict[str, Any] | None = None

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """The coefficients that estimate a mask's Dice, if the model has them."""
        return None if self.expected_dice is None else Calibration.read(self.expected_dice)

    def to_json(self) -> str:
        """Return the card as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card.

        Raises:
            CARD_ERRORS: this service cannot serve a model with such a card.
        """
        facts = json.loads(text)
        card = cls(**(facts | {"input": read_input_spec(facts["input"])}))
        outputs = tuple(card.outputs)
        answer = card.self_check
        good = (
            set(facts) | {"outputs", "expected_dice"} == {field.name for field in fields(cls)},
            outputs in (OUTPUTS[:1], OUTPUTS),
            isinstance(card.name, str) and card.name,
            0 < card.threshold < 1,
            card.mask_convention == MASK_CONVENTION,
            isinstance(card.training, dict) and isinstance(card.metrics, dict),
            card.precision in ("fp32", "int8"),
            card.quantised_from is None or isinstance(card.quantised_from, str),
            card.expected_dice is None or card.calibration is not None,
            # An FP32 file is never checked before it serves, so its card promises nothing.
            answer is None or card.precision == "int8",
            answer is None or (len(answer) == selfcheck.BLOCKS**2 and all(0 <= mean <= 1 for mean in answer)),
        )
        if not all(good):
            raise ValueError("a fact is missing or wrong")
        return replace(card, outputs=outputs)


def read_input_spec(facts: dict[str, Any]) -> InputSpec:
    """Return the input specification of a card.

    Raises:
        CARD_ERRORS: the facts are not one.
    """
    spec = InputSpec(**facts)
    good = (
        set(facts) == {field.name for field in fields(InputSpec)},
        all(type(count) is int and count > 0 for count in (spec.size, spec.stride, spec.channels)),
        spec.stride <= spec.size,
        0 <= spec.low_percentile < spec.high_percentile <= 100,
    )
    if not all(good):
        raise ValueError("a fact is missing or wrong")
    return spec
