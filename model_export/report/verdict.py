"""`verdict`: score the verdicts on unchanged, rotated, mirrored and inverted images, and on other pictures.

    python -m model_export verdict --split test --others data/other/lateral data/other/ct

Writes to the output folder: verdicts.csv, one line per picture.
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
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from model_export.data.index import Index, IndexRow, read_radiograph, read_target
from model_export.scores import metrics

PictureArray = NDArray[Any]


@dataclass(frozen=True)
class Presentation:
    """A way in which the same image may arrive.

    Attributes:
        transform: applied to the image and to its mask.
        is_inverted: whether its greys are inverted.
    """

    transform: Callable[[PictureArray], PictureArray]
    is_inverted: bool = False


PRESENTATIONS = {
    "unchanged": Presentation(lambda image: image),
    "inverted": Presentation(lambda image: image, is_inverted=True),
    "rotated by 90 degrees": Presentation(np.rot90),
    "rotated by 180 degrees": Presentation(lambda image: np.rot90(image, 2)),
    "rotated by 270 degrees": Presentation(lambda image: np.rot90(image, 3)),
    "rotated by 180 degrees, inverted": Presentation(lambda image: np.rot90(image, 2), is_inverted=True),
    "mirrored": Presentation(lambda image: image[:, ::-1]),
}


@dataclass(frozen=True)
class VerdictRecord:
    """One picture and its verdict.

    Attributes:
        group: a set and a presentation, or a folder.
        name: the image's id, or the picture's file name.
        dice: against the target; None without a target.
    """

    group: str
    name: str
    decision: str
    reasons: tuple[str, ...]
    frontal: float
    confidence: float
    dice: float | None


def judge_verdicts(
    index: Index, rows: list[IndexRow], others: list[Path], model: LungModel, output: Path
) -> list[VerdictRecord]:
    """Judge images in all presentations and other pictures, print a line for each group, and write verdicts.csv.

    Args:
        others: folders of pictures that are not frontal chest X-rays.

    Raises:
        FileNotFoundError: a folder of ``others`` does not exist.
        ValueError: a folder has no readable picture, or an image is damaged.
    """
    judged = [*_score_presentations(index, rows, model), *_score_others(others, model)]
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


def _score_presentations(index: Index, rows: list[IndexRow], model: LungModel) -> Iterator[VerdictRecord]:
    with tqdm(total=len(rows) * len(PRESENTATIONS), desc="verdict", unit="image", leave=False) as bar:
        for name, change in PRESENTATIONS.items():
            for row in rows:
                image, target = read_radiograph(index, row).pixels, read_target(index, row)
                changed = change.transform(image.max() - image if change.is_inverted else image)
                result = segment(grey_png(changed), models=Models(lung=model))
                yield _judged(f"{row.source}, {name}", row.id, result, change.transform(target))
                bar.update()


def _score_others(folders: list[Path], model: LungModel) -> Iterator[VerdictRecord]:
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
                continue  # rejected before segmentation, so there is no verdict
            count += 1
            yield _judged(folder.name, path.name, result, None)
        if not count:
            raise ValueError(f"{folder} has no readable picture")


def _judged(group: str, name: str, result: Result, target: PictureArray | None) -> VerdictRecord:
    found = result.verdict
    return VerdictRecord(
        group,
        name,
        str(found.decision),
        tuple(reason.code for reason in found.reasons),
        found.frontal,
        found.confidence,
        None if target is None else metrics.dice(result.mask, np.asarray(target, bool)),
    )


def _line(group: str, judged: list[VerdictRecord]) -> str:
    decisions = Counter(each.decision for each in judged)
    counts = "  ".join(f"{decision} {decisions[decision]:4}" for decision in Decision)
    dice = [each.dice for each in judged if each.dice is not None]
    score = f"  Dice {np.mean(dice):.4f}" if dice else ""
    reasons = Counter(reason for each in judged for reason in each.reasons)
    words = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return f"{group:45}{counts}{score}  {words}"
