"""`evaluate`: the whole way from a film's file to its mask, scored at the film's own size, and looked at.

Written to the output folder: scores.csv (one row a film), means.csv (one row a group of films) and, for each set,
<set>.png with its best, middle and worst film: film, target, prediction, and both merged on the film.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from tqdm import tqdm

from app.errors import FilmError
from app.pipeline import Model, segment
from model_export import metrics
from model_export.prepare import Index, Row, read_target

matplotlib.use("Agg")
from matplotlib import pyplot

MISSED, EXTRA, AGREED = (230, 60, 50), (60, 120, 255), (60, 190, 90)


@dataclass(frozen=True)
class Scored:
    """A film and its scores, by the names of metrics.NAMES."""

    row: Row
    scores: dict[str, float]


def evaluate(index: Index, rows: list[Row], model: Model, output: Path) -> list[Scored]:
    """Score ``model`` on ``rows``; print the table and write tables and pictures to ``output``.

    Raises:
        FileNotFoundError: a film or mask is no longer below the input folder.
        ValueError: there is nothing to score, or a film is damaged.
    """
    if not rows:
        raise ValueError("no film to evaluate")
    output.mkdir(parents=True, exist_ok=True)
    scored = []
    for row in tqdm(rows, desc="evaluate", unit="film"):
        try:
            result = segment(_film(index, row), model)
        except FilmError as error:
            raise ValueError(f"{row.film}: {error.detail}") from None
        scored.append(Scored(row, metrics.score(result.probability, result.mask, read_target(index, row))))

    with (output / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "source", "finding", "quality", *metrics.NAMES])
        for film in scored:
            row = film.row
            values = (f"{film.scores[name]:.6f}" for name in metrics.NAMES)
            writer.writerow([row.id, row.source, row.finding, row.quality, *values])
    table = _table(scored)
    with (output / "means.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    for line in table:
        print(f"{line[0]:32}" + "".join(f"{value:>12}" for value in line[1:]))
    print("hd95 and assd in pixels of the film")

    for source in sorted({film.row.source for film in scored}):
        films = sorted((film for film in scored if film.row.source == source), key=lambda film: film.scores["dice"])
        chosen = {"best": films[-1], "middle": films[len(films) // 2], "worst": films[0]}
        path = output / f"{source}.png"
        _draw(index, chosen, model, path)
        print(f"picture: {path}")
    return scored


def _film(index: Index, row: Row) -> bytes:
    return (index.input / row.film).read_bytes()


def _table(scored: list[Scored]) -> list[list[str]]:
    """Header and one line a group: each set, and each again without its masks marked as bad."""
    groups: dict[str, list[Scored]] = {}
    for source in sorted({film.row.source for film in scored}):
        films = [film for film in scored if film.row.source == source]
        good = [film for film in films if film.row.quality != "bad"]
        groups[source] = films
        if 0 < len(good) < len(films):
            groups[f"{source} without bad masks"] = good
    lines = [["films of", "count", *metrics.NAMES, "worst dice"]]
    for name, films in groups.items():
        means = [f"{np.mean([film.scores[metric] for film in films]):.4f}" for metric in metrics.NAMES]
        lines.append([name, str(len(films)), *means, f"{min(film.scores['dice'] for film in films):.4f}"])
    return lines


def _draw(index: Index, chosen: dict[str, Scored], model: Model, path: Path) -> None:
    figure, axes = pyplot.subplots(len(chosen), 4, figsize=(14, 3.9 * len(chosen)), layout="constrained")
    for line, (rank, film) in zip(axes, chosen.items(), strict=True):
        result = segment(_film(index, film.row), model)
        pixels, mask = result.radiograph.pixels, result.mask
        target = read_target(index, film.row)
        title = f"{rank}: {film.row.id}, Dice {film.scores['dice']:.4f}"
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


def _merged(pixels: np.ndarray, mask: metrics.Mask, target: metrics.Mask) -> np.ndarray:
    grey = pixels.astype(np.float32) - pixels.min()
    picture = np.repeat((grey * (255 / max(grey.max(), 1)))[..., np.newaxis], 3, axis=2)
    for where, colour, share in (
        (mask & target, AGREED, 0.2),
        (target & ~mask, MISSED, 0.7),
        (mask & ~target, EXTRA, 0.7),
    ):
        picture[where] += share * (np.array(colour) - picture[where])
    return picture.astype(np.uint8)
