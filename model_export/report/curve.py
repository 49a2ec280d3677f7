"""`curve`: plot a run's loss and validation Dice per epoch."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def draw_curve(run: Path) -> Path:
    """Plot ``run``/log.csv to ``run``/curve.png, and return that path.

    Raises:
        FileNotFoundError: ``run`` has no log.csv.
    """
    log = run / "log.csv"
    if not log.is_file():
        raise FileNotFoundError(f"{run} has no log.csv; train writes it after the first epoch")
    with log.open(newline="") as file:
        lines = list(csv.DictReader(file))
    epochs = [int(line["epoch"]) for line in lines]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot(epochs, [float(line["loss"]) for line in lines], marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    for name in (name for name in lines[0] if name.startswith("validation_dice")):
        source = name.removeprefix("validation_dice").lstrip("_") or "mean of the sets"
        right.plot(epochs, [float(line[name]) for line in lines], marker=".", label=source)
    right.set(xlabel="epoch", ylabel="validation Dice")
    right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    picture = run / "curve.png"
    figure.savefig(picture, dpi=100)
    pyplot.close(figure)
    return picture
