"""`expect`: fit the expected Dice of a mask, from images that the network never saw.

Every checkpoint scores the validation images with lung masks, including its held-out fold, unchanged and degraded. A
linear model of each mask's `MaskFigures` is fitted robustly (Huber, because some reference masks are wrong) to
log(1.01 - Dice), and scored on held-out patients.

Writes to the output folder: expected_dice.json (for `export --expected-dice`), expected_dice.csv (one row per mask)
and expected_dice.png.
"""

from __future__ import annotations

import csv
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungseg.encode.png import grey_png
from lungseg.model.card import FIGURES, Calibration
from lungseg.model.lung import LungModel
from lungseg.model.models import Models
from lungseg.pipeline.expected_dice import DICE_OFFSET, MaskFigures, estimate_dice, measure_figures
from lungseg.pipeline.reasons import MIN_EXPECTED_DICE, MIN_FRONTAL
from lungseg.pipeline.segment import segment
from model_export.config import read_config
from model_export.data.arrays import MaskArray
from model_export.data.index import Index, IndexRow, read_square
from model_export.data.selection import split_rows
from model_export.network import checkpoint
from model_export.network.checkpoint import read_model
from model_export.report.tail import MIN_GOOD
from model_export.report.worsen import worsen_image
from model_export.scores import metrics

matplotlib.use("Agg")
from matplotlib import pyplot

GOOD_DICE = 0.95
"""A mask with at least this Dice needs no review: flagging it is a false alarm."""

VARIANTS = 6
"""Degraded copies of each image."""

UNCHANGED_WEIGHT = 3.0
"""Weight of an unchanged image; a degraded copy has 1."""

RIDGE_PENALTY = 3.0
"""Ridge penalty on the slopes of the standardised figures."""

HUBER_RESIDUAL = 0.5
"""Residual, in log units, above which a mask is weighted down."""

LEARN_PARTS = 5
"""Folds of patients for scoring the fit."""

FloatVector = NDArray[np.float64]


@dataclass(frozen=True)
class MaskSample:
    """One mask and its figures.

    Attributes:
        id, source, patient: of the image.
        fold: index of the checkpoint that predicted the mask.
        changes: how the image was degraded; empty if unchanged.
        dice: of the mask.
        figures: of its mask.
    """

    id: str
    source: str
    patient: str
    fold: int
    changes: tuple[str, ...]
    dice: float
    figures: MaskFigures


def learn_expected_dice(
    index: Index, models: list[Path], output: Path, leave_out: tuple[str, ...], seed: int
) -> Calibration:
    """Fit the expected Dice, print its errors on held-out patients, and write it to ``output``.

    Args:
        index: the prepared folder.
        models: the last.pt of each fold.
        output: the folder to write.
        leave_out: ids of images whose reference masks are wrong.
        seed: seed of the degradations.

    Raises:
        ValueError: a model is not a checkpoint, or there are too few bad masks or patients.
    """
    samples = list(_samples(index, models, set(leave_out), seed))
    dice = np.array([sample.dice for sample in samples])
    if len({sample.patient for sample in samples}) < LEARN_PARTS or dice.min() >= MIN_GOOD:
        raise ValueError(
            f"{len(samples)} masks, {int((dice < MIN_GOOD).sum())} of them bad, are too few to fit; add images"
        )
    held = _estimate_held_out(samples)
    calibration = fit_calibration(samples)
    output.mkdir(parents=True, exist_ok=True)
    found = {"all": _figures(dice, held)}
    unchanged = np.array([not sample.changes for sample in samples])
    found["unchanged"] = _figures(dice[unchanged], held[unchanged])
    for source in sorted({sample.source for sample in samples}):
        chosen = unchanged & np.array([sample.source == source for sample in samples])
        found[f"unchanged, {source}"] = _figures(dice[chosen], held[chosen])
    facts = asdict(calibration) | {"learned_from": len(samples), "held_out": found}
    (output / "expected_dice.json").write_text(json.dumps(facts, indent=2) + "\n")
    with (output / "expected_dice.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "source", "fold", "changes", "dice", "expected_dice", *FIGURES))
        for sample, value in zip(samples, held, strict=True):
            facts_of = (sample.id, sample.source, sample.fold, ", ".join(sample.changes))
            numbers = (sample.dice, value, *asdict(sample.figures).values())
            writer.writerow((*facts_of, *(f"{number:.4f}" for number in numbers)))
    _draw(dice, held, unchanged, output / "expected_dice.png")
    for name, figures_of in found.items():
        print(f"{name:28}" + "  ".join(f"{figure} {value}" for figure, value in figures_of.items()))
    return calibration


def fit_calibration(samples: list[MaskSample]) -> Calibration:
    """Fit a linear model by ridge regression with Huber's loss (iteratively reweighted)."""
    figures = np.array([list(asdict(sample.figures).values()) for sample in samples])
    target = np.log(1 + DICE_OFFSET - np.array([sample.dice for sample in samples]))
    weights = np.array([1.0 if sample.changes else UNCHANGED_WEIGHT for sample in samples])
    low, high = np.percentile(figures, (0.5, 99.5), axis=0)
    figures = figures.clip(low, high)
    centre, spread = figures.mean(0), np.maximum(figures.std(0), 1e-9)
    design = np.column_stack([np.ones(len(figures)), (figures - centre) / spread])
    penalty = np.diag([0.0] + [RIDGE_PENALTY] * len(FIGURES))
    robust: NDArray[np.floating[Any]] = np.ones(len(target))
    solution: FloatVector = np.zeros(design.shape[1])
    for _ in range(20):
        weighted = design * (weights * robust)[:, np.newaxis]
        solution = np.linalg.solve(design.T @ weighted + penalty, weighted.T @ target)
        robust = np.minimum(1, HUBER_RESIDUAL / np.maximum(np.abs(target - design @ solution), 1e-9))
    slopes = solution[1:] / spread

    def named(values: FloatVector) -> dict[str, float]:
        return {name: round(float(value), 6) for name, value in zip(FIGURES, values, strict=True)}

    return Calibration(round(float(solution[0] - slopes @ centre), 6), named(slopes), named(low), named(high))


def _samples(index: Index, models: list[Path], leave_out: set[str], seed: int) -> Iterator[MaskSample]:
    for number, path in enumerate(models):
        if path.suffix != ".pt":
            raise ValueError(f"{path} is not a checkpoint of a run, so its training images are unknown; pass a last.pt")
        config = read_config(checkpoint.read_checkpoint(path)["config"])
        _, validation = split_rows(index, config)
        rows = [row for row in validation if row.kind == "lung" and row.quality == "ok" and row.id not in leave_out]
        model = read_model(path)
        for row in tqdm(rows, desc=f"expect, {path.parent.name}", unit="image", leave=False):
            yield from _measure_variants(index, row, model, number, seed)


def _measure_variants(index: Index, row: IndexRow, model: LungModel, number: int, seed: int) -> Iterator[MaskSample]:
    box = row.geometry(index.size).box
    image, mask = read_square(index, "images", row)[box], read_square(index, "masks", row)[box] > 0
    random = np.random.default_rng([seed, number, zlib.crc32(row.id.encode())])
    for variant in range(VARIANTS + 1):
        shown, changes = (image, ()) if variant == 0 else _degrade(image, mask, random)
        result = segment(grey_png(shown), models=Models(lung=model))
        # The verdict already rejects images that look like no chest X-ray, and masks without lung.
        if result.verdict.frontal < MIN_FRONTAL or not result.regions:
            continue
        seen = measure_figures(result.raw, result.field, result.sides, result.pose.turns, result.threshold)
        dice = metrics.dice(result.mask, mask)
        yield MaskSample(row.id, row.source, row.patient, number, changes, dice, seen)


def _degrade(
    image: NDArray[np.uint8], mask: MaskArray, random: np.random.Generator
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    changed, names = worsen_image(np.asarray(image, np.float32) / np.float32(255), mask, random)
    return (changed * 255).round().astype(np.uint8), names


def _estimate_held_out(samples: list[MaskSample]) -> FloatVector:
    """Return the expected Dice of every sample, from a fit to other patients."""
    patients = sorted({sample.patient for sample in samples})
    order = np.random.default_rng(0).permutation(len(patients))
    part_of = {patients[place]: number % LEARN_PARTS for number, place in enumerate(order)}
    held = np.zeros(len(samples))
    for part in range(LEARN_PARTS):
        calibration = fit_calibration([sample for sample in samples if part_of[sample.patient] != part])
        for position, sample in enumerate(samples):
            if part_of[sample.patient] == part:
                held[position] = estimate_dice(calibration, sample.figures)
    return held


def _figures(dice: FloatVector, expected: FloatVector) -> dict[str, Any]:
    """Return mean absolute error, AUC for "below MIN_GOOD", and the shares of bad and of good masks flagged."""
    bad, good, told = dice < MIN_GOOD, dice >= GOOD_DICE, expected < MIN_EXPECTED_DICE
    figures: dict[str, Any] = {"masks": len(dice), "bad": int(bad.sum())}
    figures["mean_absolute_error"] = round(float(np.abs(dice - expected).mean()), 4)
    if bad.any() and not bad.all():
        # Mann-Whitney: how often a bad mask's estimate is below another's.
        lower = (expected[bad][:, np.newaxis] < expected[~bad]).mean()
        same = (expected[bad][:, np.newaxis] == expected[~bad]).mean()
        figures["auc"] = round(float(lower + same / 2), 4)
        figures["bad_told"] = round(float(told[bad].mean()), 4)
    if good.any():
        figures["good_told"] = round(float(told[good].mean()), 4)
    return figures


def _draw(dice: FloatVector, expected: FloatVector, unchanged: NDArray[np.bool_], path: Path) -> None:
    figure, axis = pyplot.subplots(figsize=(7, 6.5), layout="constrained")
    axis.scatter(expected[~unchanged], dice[~unchanged], s=8, alpha=0.4, label="degraded")
    axis.scatter(expected[unchanged], dice[unchanged], s=14, label="unchanged")
    least = min(0.6, float(expected.min()))
    axis.plot([least, 1], [least, 1], color="0.6", linewidth=0.8)
    axis.axvline(MIN_EXPECTED_DICE, color="tab:red", linewidth=0.8, label=f"for review below {MIN_EXPECTED_DICE}")
    axis.axhline(MIN_GOOD, color="0.6", linestyle=":", linewidth=0.8)
    axis.set(xlabel="expected Dice, held-out patients", ylabel="Dice", xlim=(least, 1), ylim=(0.4, 1))
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
