"""`verdict`: how often the verdict is right, on images as they are, on images turned about, and on what is no image.

    python -m model_export verdict --split test --others data/other/lateral data/other/ct

Written to the output folder: verdicts.csv, one line a picture.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lungseg.encode.png import grey_png
from lungseg.errors import ProblemError
from lungseg.model.lung import LungModel
from lungseg.model.models import Models
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.pipeline.verdict import Decision
from model_export.data.index import Index, Row, read_film, read_target
from model_export.scores import metrics

Picture = NDArray[Any]


@dataclass(frozen=True)
class Change:
    """How an image may come that is the same image.

    Attributes:
        lay: what is done to the image and to its mask.
        invert: whether the image's greys are turned round.
    """

    lay: Callable[[Picture], Picture]
    invert: bool = False


CHANGES = {
    "as it is": Change(lambda film: film),
    "inverted": Change(lambda film: film, invert=True),
    "turned by 90 degrees": Change(np.rot90),
    "turned by 180 degrees": Change(lambda film: np.rot90(film, 2)),
    "turned by 270 degrees": Change(lambda film: np.rot90(film, 3)),
    "turned by 180 degrees, inverted": Change(lambda film: np.rot90(film, 2), invert=True),
    "mirrored": Change(lambda film: film[:, ::-1]),
}


@dataclass(frozen=True)
class Judged:
    """One picture and what was said of it.

    Attributes:
        group: a set and a change, or a folder.
        name: the image's id, or the picture's file name.
        dice: against the target; None where there is none.
    """

    group: str
    name: str
    decision: str
    reasons: tuple[str, ...]
    frontal: float
    confidence: float
    dice: float | None


def verdict(index: Index, rows: list[Row], others: list[Path], model: LungModel, output: Path) -> list[Judged]:
    """Judge images, changed images and other pictures; print a line for each group and write verdicts.csv.

    Args:
        others: folders of pictures that are no frontal chest images.

    Raises:
        FileNotFoundError: a folder of ``others`` is not there.
        ValueError: it holds no picture that can be read, or an image is damaged.
    """
    judged = [*_films(index, rows, model), *_others(others, model)]
    output.mkdir(parents=True, exist_ok=True)
    with (output / "verdicts.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("group", "name", "decision", "reasons", "frontal", "confidence", "dice"))
        for each in judged:
            dice = "" if each.dice is None else f"{each.dice:.4f}"
            figures = (f"{each.frontal:.4f}", f"{each.confidence:.4f}", dice)
            writer.writerow((each.group, each.name, each.decision, " ".join(each.reasons), *figures))
    for group in dict.fromkeys(each.group for each in judged):
        print(_line(group, [each for each in judged if each.group == group]))
    print(f"table: {output / 'verdicts.csv'}")
    return judged


def _films(index: Index, rows: list[Row], model: LungModel) -> Iterator[Judged]:
    with tqdm(total=len(rows) * len(CHANGES), desc="verdict", unit="film", leave=False) as bar:
        for name, change in CHANGES.items():
            for row in rows:
                film, target = read_film(index, row).pixels, read_target(index, row)
                changed = change.lay(film.max() - film if change.invert else film)
                result = segment(grey_png(changed), models=Models(lung=model))
                yield _judged(f"{row.source}, {name}", row.id, result, change.lay(target))
                bar.update()


def _others(folders: list[Path], model: LungModel) -> Iterator[Judged]:
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"there is no folder {folder}")
        count = 0
        for path in tqdm(sorted(folder.rglob("*")), desc=folder.name, unit="picture", leave=False):
            if not path.is_file():
                continue
            try:
                result = segment(path.read_bytes(), models=Models(lung=model))
            except ProblemError:
                continue  # a refusal is no mask either, but nothing was judged
            count += 1
            yield _judged(folder.name, path.name, result, None)
        if not count:
            raise ValueError(f"{folder} holds no picture that can be read")


def _judged(group: str, name: str, result: Result, target: Picture | None) -> Judged:
    found = result.verdict
    return Judged(
        group,
        name,
        str(found.decision),
        tuple(reason.code for reason in found.reasons),
        found.frontal,
        found.confidence,
        None if target is None else metrics.dice(result.mask, np.asarray(target, bool)),
    )


def _line(group: str, judged: list[Judged]) -> str:
    decisions = Counter(each.decision for each in judged)
    counts = "  ".join(f"{decision} {decisions[decision]:4}" for decision in Decision)
    dice = [each.dice for each in judged if each.dice is not None]
    score = f"  Dice {np.mean(dice):.4f}" if dice else ""
    reasons = Counter(reason for each in judged for reason in each.reasons)
    words = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{group:45}{counts}{score}  {words}"
