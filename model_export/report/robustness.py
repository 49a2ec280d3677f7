"""`robustness`: measure how much Dice typical modifications of an image cost.

Writes to the output folder: robustness.csv (one row per change and set) and robustness.png (one image with its mask
under every change).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from tqdm import tqdm

from lungseg.encode.overlay import draw_overlay
from lungseg.model.lung import LungModel
from lungseg.model.models import Models
from lungseg.pipeline.segment import segment
from model_export.data.index import Index, IndexRow, read_radiograph, read_target
from model_export.scores import metrics

matplotlib.use("Agg")
from matplotlib import pyplot

PictureChange = Callable[[Image.Image], Image.Image]

Robustness = dict[tuple[str, str], list[float]]
"""Dice of each image, by change and set."""


@dataclass(frozen=True)
class Disturbance:
    """A modification of an image.

    Attributes:
        image: applied to the 8-bit grey image.
        mask: applied to its target, an 8-bit image of 0 and 255, to keep them aligned; None leaves it unchanged.
        quality: JPEG quality of the segmented file; None is PNG.
    """

    image: PictureChange
    mask: PictureChange | None = None
    quality: int | None = None


def _map_greys(function: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> PictureChange:
    """Return a pointwise change of greys; ``function`` maps [0, 1] to [0, 1]."""
    greys = (255 * function(np.arange(256) / 255)).round().clip(0, 255).astype(np.uint8)
    return lambda radiograph: radiograph.point(list(greys))


def _noise(radiograph: Image.Image) -> Image.Image:
    """Add Gaussian noise of 5 % of the range, the same for all images of one size."""
    noise = np.random.default_rng(1).normal(0, 0.05 * 255, (radiograph.height, radiograph.width))
    return Image.fromarray((np.asarray(radiograph) + noise).clip(0, 255).astype(np.uint8))


def _rotated(degrees: float, resample: Image.Resampling, radiograph: Image.Image) -> Image.Image:
    return radiograph.rotate(degrees, resample)


def _cropped(radiograph: Image.Image) -> Image.Image:
    """Crop 5 % off each side."""
    rows, columns = round(radiograph.height * 0.05), round(radiograph.width * 0.05)
    return radiograph.crop((columns, rows, radiograph.width - columns, radiograph.height - rows))


def _padded(radiograph: Image.Image) -> Image.Image:
    """Add a black border of 10 % of the longer side."""
    return ImageOps.expand(radiograph, round(max(radiograph.size) * 0.1), 0)


def _shrunk(radiograph: Image.Image) -> Image.Image:
    return ImageOps.contain(radiograph, (224, 224), Image.Resampling.BILINEAR)


def _both(change: PictureChange) -> Disturbance:
    return Disturbance(change, change)


def _rotation(degrees: float) -> Disturbance:
    return Disturbance(
        partial(_rotated, degrees, Image.Resampling.BILINEAR), partial(_rotated, degrees, Image.Resampling.NEAREST)
    )


def _turned(how: Image.Transpose) -> Disturbance:
    return _both(lambda radiograph: radiograph.transpose(how))


UNCHANGED = "unchanged"

DISTURBANCES: dict[str, Disturbance] = {
    UNCHANGED: Disturbance(lambda radiograph: radiograph),
    "inverted": Disturbance(_map_greys(lambda grey: 1 - grey)),
    "gamma 0.5": Disturbance(_map_greys(lambda grey: grey**0.5)),
    "gamma 0.7": Disturbance(_map_greys(lambda grey: grey**0.7)),
    "gamma 1.4": Disturbance(_map_greys(lambda grey: grey**1.4)),
    "gamma 2": Disturbance(_map_greys(lambda grey: grey**2)),
    "half the contrast": Disturbance(_map_greys(lambda grey: 0.25 + grey / 2)),
    "noise of 5 %": Disturbance(_noise),
    "blur of 2 pixels": Disturbance(lambda radiograph: radiograph.filter(ImageFilter.GaussianBlur(2))),
    "JPEG quality 20": Disturbance(lambda radiograph: radiograph, quality=20),
    "shrunk to 224": _both(_shrunk),
    "border cropped by 5 %": _both(_cropped),
    "border padded by 10 %": _both(_padded),
    **{f"rotated by {degrees}": _rotation(degrees) for degrees in (-15, -10, -5, 5, 10, 15)},
    "mirrored": _turned(Image.Transpose.FLIP_LEFT_RIGHT),
    "rotated by 90": _turned(Image.Transpose.ROTATE_90),
    "rotated by 180": _turned(Image.Transpose.ROTATE_180),
    "rotated by 270": _turned(Image.Transpose.ROTATE_270),
}


def measure_robustness(index: Index, rows: list[IndexRow], model: LungModel, output: Path) -> Robustness:
    """Score ``model`` on ``rows`` under every change, print the table, and write it and a picture to ``output``.

    Raises:
        FileNotFoundError, ValueError: an image is missing or damaged, or there is none.
    """
    if not rows:
        raise ValueError("no image to score; name another --split")
    output.mkdir(parents=True, exist_ok=True)
    dice: Robustness = {}
    for row in tqdm(rows, desc="robustness", unit="image"):
        radiograph, target = _pictures(index, row)
        for name, kind in DISTURBANCES.items():
            mask = segment(_file(radiograph, kind), models=Models(lung=model)).mask
            wanted = np.asarray(kind.mask(target) if kind.mask else target) > 127
            dice.setdefault((name, row.source), []).append(metrics.dice(mask, wanted))

    lines = robustness_table(dice)
    with (output / "robustness.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    for line in lines:
        print(f"{line[0]:24}{line[1]:12}" + "".join(f"{value:>12}" for value in line[2:]))
    _draw(index, rows[len(rows) // 2], model, output / "robustness.png")
    print(f"picture: {output / 'robustness.png'}")
    return dice


def robustness_table(dice: Robustness) -> list[list[str]]:
    """Return a header and one line for each set and change: mean Dice, cost and worst image."""
    lines = [["change", "images of", "mean dice", "cost", "worst dice"]]
    for (name, source), values in sorted(dice.items(), key=lambda entry: entry[0][1]):
        mean = float(np.mean(values))
        cost = float(np.mean(dice[UNCHANGED, source])) - mean
        lines.append([name, source, f"{mean:.4f}", f"{cost:+.4f}", f"{min(values):.4f}"])
    return lines


def _pictures(index: Index, row: IndexRow) -> tuple[Image.Image, Image.Image]:
    """Return an image in 8 bits and its target."""
    pixels = read_radiograph(index, row).pixels
    if pixels.dtype != np.uint8:
        pixels = (pixels * (255 / max(int(pixels.max()), 1))).astype(np.uint8)
    return Image.fromarray(pixels), Image.fromarray(read_target(index, row).astype(np.uint8) * 255)


def _file(radiograph: Image.Image, kind: Disturbance) -> bytes:
    buffer = io.BytesIO()
    if kind.quality is None:
        kind.image(radiograph).save(buffer, "PNG", compress_level=1)
    else:
        kind.image(radiograph).save(buffer, "JPEG", quality=kind.quality)
    return buffer.getvalue()


def _draw(index: Index, row: IndexRow, model: LungModel, path: Path) -> None:
    radiograph, _ = _pictures(index, row)
    columns = 6
    figure, axes = pyplot.subplots(-(-len(DISTURBANCES) // columns), columns, figsize=(15, 11), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, kind) in zip(axes.flat, DISTURBANCES.items(), strict=False):
        result = segment(_file(radiograph, kind), models=Models(lung=model))
        axis.imshow(draw_overlay(result.radiograph.pixels, result.labels))
        axis.set_title(name, fontsize=9)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
