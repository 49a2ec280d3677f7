"""Plot docs/pareto.png: Dice against milliseconds for all networks in search.csv, with their Pareto front."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from model_export.sweeps.dice_axis import scale_dice
from model_export.sweeps.sweep import SECOND_SEED

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.lines import Line2D

OURS, THEIRS = "#2e86ab", "#d1495b"


@dataclass(frozen=True)
class ParetoPoint:
    """A line of search.csv; ``trained`` says how a network was trained less than the others, or is empty.

    The default shape with another seed is not a separate network: it shows the difference of two seeds.
    """

    name: str
    comparison: bool
    precision: str
    milliseconds: float
    dice: float
    trained: str


def draw_pareto(table: Path, picture: Path) -> None:
    """Plot ``table`` to ``picture``.

    Raises:
        FileNotFoundError: no network has been timed yet.
    """
    if not table.is_file():
        raise FileNotFoundError(f"there is no {table}: no shape has been trained and timed yet")
    everything = read_points(table)
    points = [point for point in everything if point.name != SECOND_SEED] or everything
    figure, axis = pyplot.subplots(figsize=(12, 7.5), layout="constrained")
    axis.set_xscale("log")
    scale_dice(axis, [point.dice for point in everything])
    times = [point.milliseconds for point in points]
    axis.set_xlim(min(times) / 1.4, max(times) * 1.6)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}".strip("0.") in "25" else "")

    best = pareto_front(points)
    axis.step(
        [point.milliseconds for point in best],
        [point.dice for point in best],
        where="post",
        color="0.55",
        linewidth=1.2,
        zorder=1,
    )
    for point, dice in pair_seeds(everything):
        axis.vlines(point.milliseconds, point.dice, dice, color=OURS, linewidth=5, alpha=0.35, zorder=2)
    axis.set_title(_caption(everything), loc="left", fontsize=10)
    for name in dict.fromkeys(point.name for point in points):
        pair = [point for point in points if point.name == name]
        axis.plot(
            [point.milliseconds for point in pair],
            [point.dice for point in pair],
            color=_colour(pair[0]),
            linewidth=0.6,
            alpha=0.35,
            zorder=1,
        )
    for point in points:
        axis.plot(
            point.milliseconds,
            point.dice,
            marker="s" if point.comparison else "o",
            markersize=7,
            color=_colour(point),
            markerfacecolor=_colour(point) if point.precision == "int8" else "white",
            linestyle="none",
            zorder=3,
        )
    axis.set_xlabel("milliseconds for one image: onnxruntime, one thread, median of runs")
    axis.set_ylabel("mean Dice on the validation images at full size (finer near 1)")
    axis.grid(alpha=0.25, which="both")
    figure.legend(handles=_legend(points), loc="outside lower center", ncols=5, frameon=False)
    figure.draw_without_rendering()  # fixes the pixel coordinates of points
    _label(axis, points, {point.name for point in best})
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
    print(f"plot: {picture}")


def read_points(table: Path) -> list[ParetoPoint]:
    """Return the lines of search.csv."""
    with table.open(newline="") as file:
        return [
            ParetoPoint(
                line["name"],
                line["group"] == "comparison",
                line["precision"],
                float(line["ms"]),
                float(line["dice"]),
                line["trained"],
            )
            for line in csv.DictReader(file)
        ]


def pareto_front(points: list[ParetoPoint]) -> list[ParetoPoint]:
    """Return the Pareto front of the networks that were trained alike, fastest first."""
    best: list[ParetoPoint] = []
    alike = [point for point in points if not point.trained]
    for point in sorted(alike, key=lambda point: (point.milliseconds, -point.dice)):
        if not best or point.dice > best[-1].dice:
            best.append(point)
    return best


def pair_seeds(points: list[ParetoPoint]) -> list[tuple[ParetoPoint, float]]:
    """Return the default shape's points, each with the Dice of the other seed in that precision, if there is one."""
    other = {point.precision: point.dice for point in points if point.name == SECOND_SEED}
    return [(point, other[point.precision]) for point in points if point.name == "default" and point.precision in other]


def _caption(points: list[ParetoPoint]) -> str:
    pairs = pair_seeds(points)
    apart = " and ".join(f"{abs(point.dice - dice):.4f} ({point.precision.upper()})" for point, dice in pairs)
    if pairs:
        words = f"Two seeds of the default shape are {apart} of Dice apart (thick bar): such differences are noise."
    else:
        words = "The default shape was trained with one seed only, so it is unknown which differences are noise."
    less = any(point.trained for point in points)
    return words + ("\nNetworks trained less (as stated in brackets) are not in the front." if less else "")


def _colour(point: ParetoPoint) -> str:
    return THEIRS if point.comparison else OURS


def _legend(points: list[ParetoPoint]) -> list[Line2D]:
    ours = [
        Line2D([], [], color=OURS, marker="o", markerfacecolor=face, linestyle="none", label=f"shapes, {precision}")
        for precision, face in (("INT8", OURS), ("FP32", "white"))
    ]
    theirs = [
        Line2D([], [], color=THEIRS, marker="s", markerfacecolor=face, linestyle="none", label=f"U-Nets, {precision}")
        for precision, face in (("INT8", THEIRS), ("FP32", "white"))
    ]
    line = Line2D([], [], color="0.55", label="Pareto front (names in bold)")
    return [*ours, *(theirs if any(point.comparison for point in points) else []), line]


def _label(axis: Axes, points: list[ParetoPoint], bold: set[str]) -> None:
    """Label each network once, at its fastest file, without covering points or other labels."""
    transform = axis.transData.transform
    dots = [transform((point.milliseconds, point.dice)) for point in points]
    taken = [Bbox.from_extents(x - 7, y - 7, x + 7, y + 7) for x, y in dots]
    for name in dict.fromkeys(point.name for point in points):
        point = min((point for point in points if point.name == name), key=lambda point: point.milliseconds)
        note = axis.annotate(
            f"{name} ({point.trained})" if point.trained else name,
            (point.milliseconds, point.dice),
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            color=_colour(point),
            weight="bold" if name in bold else "normal",
            arrowprops={"arrowstyle": "-", "color": _colour(point), "linewidth": 0.5, "alpha": 0.6, "shrinkB": 4},
            zorder=4,
        )
        taken.append(_place(axis, note, transform(note.xy), taken))


def _place(axis: Axes, note: Annotation, point: NDArray[np.float64], taken: list[Bbox]) -> Bbox:
    """Move ``note`` to the nearest free position around its point, inside the axes; return its box in pixels."""
    note.set_in_layout(False)
    text = Text.get_window_extent(note)
    text = text.translated(*(point - (text.p0 + text.p1) / 2))
    frame, pixels = axis.get_window_extent(), axis.figure.dpi / 72
    for radius in range(14, 240, 6):
        for angle in np.radians((90, 270, 60, 120, 300, 240, 30, 150, 330, 210, 0, 180)):
            # A label is wide and low: it must move further sideways than upwards.
            right, up = np.cos(angle) * (radius + text.width / pixels / 2), np.sin(angle) * radius
            box = text.translated(right * pixels, up * pixels)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken):
                note.set_position((right, up))
                return box
    return text
