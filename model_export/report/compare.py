"""`compare`: score several models on the same images, such as models of one hospital at another.

Writes to the output folder: compare.csv (one row per model, one column per set).
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lungseg.model.lung import LungModel
from model_export.data.index import Index, IndexRow
from model_export.evaluate import format_mean
from model_export.scores.scoring import ImageScore, score_images


def compare_models(
    index: Index,
    rows: list[IndexRow],
    models: dict[str, LungModel],
    output: Path,
    scored: dict[str, list[ImageScore]] | None = None,
) -> list[list[str]]:
    """Score each of ``models`` on ``rows``, print the table and write it to ``output``.

    Args:
        models: by the label that `label_model` returns.
        scored: existing scores of other models on the same images; they come first.

    Returns:
        The table: a header, and one line for each model with mean Dice, interval and worst image of each set.

    Raises:
        FileNotFoundError: an image or mask is missing from the input folder.
        ValueError: there is no image to score, or one is damaged.
    """
    done = (scored or {}) | {name: score_images(index, rows, model, name) for name, model in models.items()}
    dice: dict[str, dict[str, list[float]]] = {}
    for name, images in done.items():
        dice[name] = {}
        for image in images:
            dice[name].setdefault(image.row.source, []).append(image.scores["dice"])
    table = _table(dice)
    output.mkdir(parents=True, exist_ok=True)
    with (output / "compare.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    for line in table:
        print(f"{line[0]:44}" + "".join(f"{value:>36}" for value in line[1:]))
    print("mean Dice with its 95 % bootstrap interval over images, and the worst image's")
    return table


def _table(dice: dict[str, dict[str, list[float]]]) -> list[list[str]]:
    sources = sorted({source for by_source in dice.values() for source in by_source})
    lines = [["trained on", *(f"tested on {source}" for source in sources)]]
    for name, by_source in dice.items():
        cells = (by_source[source] for source in sources)
        lines.append([name, *(f"{format_mean(values)}, {np.min(values):.4f}" for values in cells)])
    return lines


def label_model(path: Path, model: LungModel) -> str:
    """Return a model's label in the table: its training sets, whether their masks were predicted, and its file."""
    training = model.card.training
    labelled = training["labelled"]
    sources = (f"{source} (predicted masks)" if source in labelled else source for source in training["sources"])
    return f"{' and '.join(sources)}: {path}"
