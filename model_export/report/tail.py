"""`tail`: what a mean hides: each set's 5th percentile, its worst image, and failures that the verdict accepts.

Sets with lung masks are scored by Dice; sets with field masks by the share of lung outside the field and the share of
its lateral third that was found (`data.truth.score_field`). Checkpoints trained on folds score the images of their
held-out fold. Pass their last.pt, not best.pt: the epoch of best.pt was chosen on these images.

Writes to the output folder: tail.csv (one row per image), sets.csv (one row per set) and worst.png (the worst images).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from tqdm import tqdm

from lungseg.encode.overlay import draw_overlay
from lungseg.model.lung import LungModel
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.result import Result
from model_export.config import read_config
from model_export.data.arrays import MaskArray
from model_export.data.index import Index, IndexRow, read_target
from model_export.data.selection import split_rows
from model_export.data.truth import score_field
from model_export.network import checkpoint
from model_export.network.checkpoint import read_model
from model_export.scores import metrics
from model_export.scores.scoring import segment_row

matplotlib.use("Agg")
from matplotlib import pyplot

MIN_GOOD = 0.90
"""A mask with a lower Dice, or a smaller share of the lateral third, is a failure."""

WORST_SHOWN = 12
"""Number of images in worst.png."""

FIELD_SIDE = 512
"""Longer side at which fields are scored, in pixels."""


@dataclass(frozen=True)
class TailScore:
    """One image and its score.

    Attributes:
        row: the image.
        score: Dice, or the share of the field's lateral third that was found.
        outside: share of the lung mask outside the field; None in sets with lung masks.
        decision: the verdict's decision.
        expected_dice: the verdict's estimate; None if the model has none.
    """

    row: IndexRow
    score: float
    outside: float | None
    decision: str
    expected_dice: float | None

    @property
    def is_silent(self) -> bool:
        """Whether the mask is a failure that the verdict accepts."""
        return self.score < MIN_GOOD and self.decision == Decision.ACCEPT


ScoringTask = tuple[IndexRow, LungModel]
"""An image, and the model that scores it."""


def score_tail(index: Index, jobs: list[ScoringTask], output: Path) -> list[TailScore]:
    """Score images, print a table of their sets, and write tables and a picture to ``output``.

    Args:
        index: the prepared folder.
        jobs: the images with their models, from `pair_with_models`.
        output: the folder to write.

    Raises:
        FileNotFoundError, ValueError: an image or a mask is missing or damaged.
    """
    scored = [_score(index, row, model) for row, model in tqdm(jobs, desc="tail", unit="image", leave=False)]
    output.mkdir(parents=True, exist_ok=True)
    with (output / "tail.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "source", "kind", "finding", "score", "outside", "decision", "expected_dice"])
        for each in scored:
            outside = "" if each.outside is None else f"{each.outside:.5f}"
            facts = (each.row.id, each.row.source, each.row.kind, each.row.finding, f"{each.score:.5f}", outside)
            expected = "" if each.expected_dice is None else f"{each.expected_dice:.4f}"
            writer.writerow([*facts, each.decision, expected])
    table = sets_table(scored)
    with (output / "sets.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    for line in table:
        print(f"{line[0]:28}" + "".join(f"{cell:>12}" for cell in line[1:]))
    models_of = {row.id: model for row, model in jobs}
    _draw(index, sorted(scored, key=lambda each: each.score)[:WORST_SHOWN], models_of, output / "worst.png")
    return scored


def sets_table(scored: list[TailScore]) -> list[list[str]]:
    """Return a header and one line for each set, followed by its findings."""
    lines = [["set", "images", "mean", "5th", "worst", "below 0.90", "silent", "outside", "accepted", "rejected"]]
    for source in sorted({each.row.source for each in scored}):
        own = [each for each in scored if each.row.source == source]
        findings = sorted({each.row.finding for each in own})
        groups = {source: own}
        if len(findings) > 1:
            groups |= {f"  {name or 'none stated'}": [e for e in own if e.row.finding == name] for name in findings}
        lines += [_line(name, group) for name, group in groups.items()]
    return lines


def _line(name: str, group: list[TailScore]) -> list[str]:
    scores = [each.score for each in group]
    outside = [each.outside for each in group if each.outside is not None]
    decided = {decision: np.mean([each.decision == decision for each in group]) for decision in Decision}
    return [
        name,
        str(len(group)),
        f"{np.mean(scores):.4f}",
        f"{np.percentile(scores, 5):.4f}",
        f"{min(scores):.4f}",
        str(sum(score < MIN_GOOD for score in scores)),
        str(sum(each.is_silent for each in group)),
        f"{np.mean(outside):.4f}" if outside else "",
        f"{decided[Decision.ACCEPT]:.3f}",
        f"{decided[Decision.REJECT]:.3f}",
    ]


def pair_with_models(index: Index, models: list[Path], split: str) -> Iterator[ScoringTask]:
    """Yield each image of a split with the model that scores it.

    Args:
        index: the prepared folder.
        models: one model, or one checkpoint per fold; images outside all folds are scored by the first.
        split: split of the images outside all folds.

    Raises:
        FileNotFoundError, ValueError: a model is missing or damaged.
    """
    folded: set[str] = set()
    for path in models:
        config = read_config(checkpoint.read_checkpoint(path)["config"]) if path.suffix == ".pt" else None
        if config is None or not config.folds:
            continue
        model, folded = read_model(path), folded | {config.fold_source}
        _, validation = split_rows(index, config)
        yield from ((row, model) for row in validation if row.source == config.fold_source)
    first = read_model(models[0])
    yield from ((row, first) for row in index.select(split) if row.source not in folded)


def _score(index: Index, row: IndexRow, model: LungModel) -> TailScore:
    result, target = segment_row(index, row, model), read_target(index, row)
    verdict = result.verdict
    if row.kind == "field":
        outside, score = score_field(*(_shrunk(mask) for mask in (result.mask, target)))
        return TailScore(row, score, outside, str(verdict.decision), verdict.expected_dice)
    return TailScore(row, metrics.dice(result.mask, target), None, str(verdict.decision), verdict.expected_dice)


def _shrunk(mask: MaskArray) -> MaskArray:
    """Return a mask with FIELD_SIDE pixels on its longer side."""
    scale = FIELD_SIDE / max(mask.shape)
    if scale == 1:
        return mask
    size = (round(mask.shape[1] * scale), round(mask.shape[0] * scale))
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 127


def _draw(index: Index, worst: list[TailScore], models: dict[str, LungModel], path: Path) -> None:
    figure, axes = pyplot.subplots(3, 4, figsize=(16, 12.5), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, each in zip(axes.flat, worst, strict=False):
        result: Result = segment_row(index, each.row, models[each.row.id])
        axis.imshow(draw_overlay(result.radiograph.pixels, result.labels))
        axis.contour(read_target(index, each.row), [0.5], colors="red", linewidths=0.8)
        axis.set_title(f"{each.row.source} {each.row.finding}: {each.score:.3f}, {each.decision}", fontsize=10)
    figure.suptitle("tint and yellow: predicted mask; red: reference mask, or V7's field", fontsize=11)
    figure.savefig(path, dpi=70)
    pyplot.close(figure)
