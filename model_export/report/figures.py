"""The report's plots, each as a data URI."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from lungseg.model.lung import LungModel
from model_export.data.index import Index, read_target
from model_export.scores.scoring import CALIBRATION_BINS, ImageScore, group_by_set, segment_row

matplotlib.use("Agg")
from matplotlib import pyplot

TARGET, PREDICTION = "#ff5a3c", "#29b6ff"

EXAMPLE_COLUMNS = 4


def embed_picture(picture: Path) -> str:
    """Return an image file as a data URI."""
    kind = "jpeg" if picture.suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def draw_distributions(scored: list[ImageScore]) -> str:
    """Plot the Dice of each set: one dot per image, with quartiles."""
    groups = group_by_set(scored)
    figure, axis = pyplot.subplots(figsize=(9, 0.9 + 0.8 * len(groups)), layout="constrained")
    random = np.random.default_rng(1)
    for line, images in enumerate(groups.values()):
        dice = np.array([image.scores["dice"] for image in images])
        axis.scatter(dice, line + random.uniform(-0.18, 0.18, dice.size), s=14, alpha=0.55, color="#3367a8", lw=0)
        axis.boxplot(dice, positions=[line], orientation="horizontal", widths=0.55, showfliers=False, whis=(5, 95))
    axis.set_yticks(range(len(groups)), list(groups))
    axis.invert_yaxis()
    axis.set_xlabel("Dice of an image; box: quartiles, whiskers: 5 to 95 %")
    axis.grid(axis="x", alpha=0.3)
    return _encode(figure)


def draw_calibration(scored: list[ImageScore]) -> str:
    """Plot for each set the share of lung among pixels of each probability bin."""
    figure, (axis, counts) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    axis.plot([0, 1], [0, 1], color="0.6", ls="--", lw=1)
    for source, images in group_by_set(scored).items():
        total = np.sum([image.calibration for image in images], axis=0)
        held = total[:, 0] > 0
        axis.plot(total[held, 1] / total[held, 0], total[held, 2] / total[held, 0], marker="o", ms=4, label=source)
        counts.plot(
            (np.arange(CALIBRATION_BINS) + 0.5) / CALIBRATION_BINS,
            total[:, 0] / total[:, 0].sum(),
            marker="o",
            ms=4,
            label=source,
        )
    axis.set(xlabel="probability of lung", ylabel="share that is lung in the target", xlim=(0, 1), ylim=(0, 1))
    axis.legend(fontsize=8)
    counts.set(xlabel="probability of lung", ylabel="share of all pixels", yscale="log", xlim=(0, 1))
    for one in (axis, counts):
        one.grid(alpha=0.3)
    return _encode(figure)


def draw_examples(index: Index, model: LungModel, chosen: list[ImageScore]) -> str:
    """Draw images with the outlines of target and prediction, and their Dice."""
    lines = -(-len(chosen) // EXAMPLE_COLUMNS)
    figure, axes = pyplot.subplots(
        lines, EXAMPLE_COLUMNS, figsize=(14, 3.7 * lines), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, image in zip(axes.flat, chosen, strict=False):
        result = segment_row(index, image.row, model)
        pixels = result.radiograph.pixels
        low, high = np.percentile(pixels[::4, ::4], (0.5, 99.5))
        axis.imshow(pixels, cmap="gray", vmin=low, vmax=high)
        for mask, colour in ((read_target(index, image.row), TARGET), (result.mask, PREDICTION)):
            axis.contour(mask, levels=[0.5], colors=colour, linewidths=1.3)
        axis.set_title(f"{image.row.id}  Dice {image.scores['dice']:.4f}", fontsize=9)
    return _encode(figure, "jpeg")


def _encode(figure: Figure, kind: str = "png") -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=90)
    pyplot.close(figure)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
