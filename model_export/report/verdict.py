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
from model_export.data.index import Index, IndexRow, read_radiograph, read_target
from model_export.scores import metrics

PictureArray = NDArray[Any]


@dataclass(frozen=True)
class Presentation:
    """How an image may come that is the same image.

    Attributes:
        lay: what is done to the image and to its mask.
        invert: whether the image's greys are turned round.
    """

    transform: Callable[[PictureArray], PictureArray]
    is_inverted: bool = False


PRESENTATIONS = {
    "as it is": Presentation(lambda film: film),
    "inverted": Presentation(lambda film: film, is_inverted=True),
    "turned by 90 degrees": Presentation(np.rot90),
    "turned by 180 degrees": Presentation(lambda film: np.rot90(film, 2)),
    "turned by 270 degrees": Presentation(lambda film: np.rot90(film, 3)),
    "turned by 180 degrees, inverted": Presentation(lambda film: np.rot90(film, 2), is_inverted=True),
    "mirrored": Presentation(lambda film: film[:, ::-1]),
}


@dataclass(frozen=True)
class VerdictRecord:
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


def judge_verdicts(
    index: Index, rows: list[IndexRow], others: list[Path], model: LungModel, output: Path
) -> list[VerdictRecord]:
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


def _films(index: Index, rows: list[IndexRow], model: LungModel) -> Iterator[VerdictRecord]:
    with tqdm(total=len(rows) * len(PRESENTATIONS), desc="verdict", unit="film", leave=False) as bar:
        for name, change in PRESENTATIONS.items():
            for row in rows:
                film, target = read_radiograph(index, row).pixels, read_target(index, row)
                changed = change.transform(film.max() - film if change.is_inverted else film)
                result = segment(grey_png(changed), models=Models(lung=model))
                yield _judged(f"{row.source}, {name}", row.id, result, change.transform(target))
                bar.update()


def _others(folders: list[Path], model: LungModel) -> Iterator[VerdictRecord]:
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
