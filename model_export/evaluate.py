"""`evaluate`: score a model end to end, from image file to mask, at full image size.

Writes to the output folder: scores.csv (one row per image), means.csv (one row per group of images) and, for each set,
<set>.png with its best, median and worst image: image, target, prediction, and both merged.
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
import numpy as np

from lungseg.model.lung import LungModel
from model_export.data.arrays import MaskArray
from model_export.data.index import Index, IndexRow, read_target
from model_export.scores import metrics
from model_export.scores.scoring import (
    ImageScore,
    bootstrap_interval,
    group_by_set,
    mean_score,
    score_images,
    segment_row,
)

matplotlib.use("Agg")
from matplotlib import pyplot

MISSED, EXTRA, AGREED = (230, 60, 50), (60, 120, 255), (60, 190, 90)


def evaluate(index: Index, rows: list[IndexRow], model: LungModel, output: Path) -> list[ImageScore]:
    """Score ``model`` on ``rows``, print the table, and write tables and pictures to ``output``.

    Raises:
        FileNotFoundError: an image or mask is missing from the input folder.
        ValueError: there is no image to score, or one is damaged.
    """
    scored = score_images(index, rows, model)
    output.mkdir(parents=True, exist_ok=True)
    with (output / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "source", "finding", "quality", *metrics.METRIC_NAMES])
        for image in scored:
            row = image.row
            values = (f"{image.scores[name]:.6f}" for name in metrics.METRIC_NAMES)
            writer.writerow([row.id, row.source, row.finding, row.quality, *values])
    table = means_table(group_by_set(scored))
    with (output / "means.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    for line in table:
        print(f"{line[0]:28}{line[1]:>6}  {line[2]:25}" + "".join(f"{value:>11}" for value in line[3:]))
    print("Dice with its 95 % bootstrap interval over images; hd95 and assd in image pixels")

    for source in sorted({image.row.source for image in scored}):
        chosen = pick_examples([image for image in scored if image.row.source == source])
        path = output / f"{source}.png"
        _draw(index, chosen, model, path)
        print(f"picture: {path}")
    return scored


def means_table(groups: dict[str, list[ImageScore]]) -> list[list[str]]:
    """Return a header and one line for each group of images: its means, Dice first with its interval."""
    others = [name for name in metrics.METRIC_NAMES if name != "dice"]
    lines = [["images of", "images", "dice", *others, "worst dice"]]
    for name, images in groups.items():
        dice = [image.scores["dice"] for image in images]
        means = (f"{mean_score(images, metric):.4f}" for metric in others)
        lines.append([name, str(len(images)), format_mean(dice), *means, f"{min(dice):.4f}"])
    return lines


def format_mean(values: list[float]) -> str:
    """Return a mean and its 95 % interval as text; a single image has no interval."""
    if len(values) < 2:
        return f"{np.mean(values):.4f}"
    low, high = bootstrap_interval(values)
    return f"{np.mean(values):.4f} ({low:.4f} to {high:.4f})"


def pick_examples(images: list[ImageScore]) -> dict[str, ImageScore]:
    """Return the best, the median and the worst image by Dice."""
    images = sorted(images, key=lambda image: image.scores["dice"])
    return {"best": images[-1], "median": images[len(images) // 2], "worst": images[0]}


def _draw(index: Index, chosen: dict[str, ImageScore], model: LungModel, path: Path) -> None:
    figure, axes = pyplot.subplots(len(chosen), 4, figsize=(14, 3.9 * len(chosen)), layout="constrained")
    for line, (rank, image) in zip(axes, chosen.items(), strict=True):
        result = segment_row(index, image.row, model)
        pixels, mask = result.radiograph.pixels, result.mask
        target = read_target(index, image.row)
        title = f"{rank}: {image.row.id}, Dice {image.scores['dice']:.4f}"
        pictures = {
            title: pixels,
            "target": target,
            "prediction": mask,
            "green both, red missed, blue extra": _merged(pixels, mask, target),
        }
        for axis, (name, picture) in zip(line, pictures.items(), strict=True):
            axis.imshow(picture, cmap="gray", interpolation="antialiased")
            axis.set_title(name, fontsize=10)
            axis.set_axis_off()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _merged(pixels: np.ndarray, mask: MaskArray, target: MaskArray) -> np.ndarray:
    grey = pixels.astype(np.float32) - pixels.min()
    picture = np.repeat((grey * (255 / max(grey.max(), 1)))[..., np.newaxis], 3, axis=2)
    for where, colour, share in (
        (mask & target, AGREED, 0.2),
        (target & ~mask, MISSED, 0.7),
        (mask & ~target, EXTRA, 0.7),
    ):
        picture[where] += share * (np.array(colour) - picture[where])
    return picture.astype(np.uint8)
