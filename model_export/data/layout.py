"""Finds images and their lung masks in the layout of the public Kaggle sets, at any depth below one folder.

Montgomery   .../CXR_png/MCUCXR_0001_0.png    .../leftMask/MCUCXR_0001_0.png  and  .../rightMask/MCUCXR_0001_0.png
Shenzhen     .../CXR_png/CHNCXR_0001_0.png    .../CHNCXR_0001_0_mask.png  (from the set `shcxr-lung-mask`)

The last digit of a name is the finding: 0 normal, 1 tuberculosis.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lungseg import errors
from lungseg.decode import decode

SPLITS = ("train", "validation", "test")
IMAGE_NAME = re.compile(r"(?P<id>(?P<set>MCUCXR|CHNCXR)_\d+_(?P<finding>[01]))\.png")
PUBLIC_SETS = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}


@dataclass(frozen=True)
class ImagePair:
    """An image and the files of its mask: Montgomery has two (left and right lung), Shenzhen one.

    Attributes:
        id: its name, unique in all sets.
        source: its set.
        finding: as the set says it: "0" normal and "1" tuberculosis in the public sets.
        image: its file.
        masks: the files whose union is its mask; none if its kind is "none".
        patient: whose image it is.
        kind: what its mask holds: "lung", "field" or "none" (`hospital`).
        licence: of the image, where the set says it.
        split: where the set says it itself.
    """

    id: str
    source: str
    finding: str
    image: Path
    masks: tuple[Path, ...]
    patient: str
    kind: str = "lung"
    licence: str = ""
    split: str | None = None


@dataclass(frozen=True)
class SkippedImage:
    """An image, or a mask without one, that cannot be used, and why."""

    id: str
    reason: str


def find_pairs(root: Path) -> tuple[list[ImagePair], list[SkippedImage]]:
    """All pairs below ``root``, sorted by id, and what lacks its other half.

    Raises:
        FileNotFoundError: nothing below ``root`` looks like either set.
    """
    films: dict[str, re.Match[str]] = {}
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.rglob("*.png")):
        kind, stem = path.parent.name, path.stem.removesuffix("_mask")
        match = IMAGE_NAME.fullmatch(f"{stem}.png")
        if match is None:
            continue
        role = kind if kind in ("CXR_png", "leftMask", "rightMask") else "mask" if stem != path.stem else None
        if role is not None:
            films.setdefault(stem, match)
            found.setdefault((stem, role), path)
    if not films:
        raise FileNotFoundError(f"{root} holds no image of the Montgomery or Shenzhen layout")

    pairs, skipped = [], []
    for stem, match in sorted(films.items()):
        source = PUBLIC_SETS[match["set"]]
        roles = ("leftMask", "rightMask") if source == "montgomery" else ("mask",)
        missing = [role for role in ("CXR_png", *roles) if (stem, role) not in found]
        if missing:
            skipped.append(SkippedImage(stem, "no " + " and no ".join(missing).replace("CXR_png", "image")))
        else:
            masks = tuple(found[stem, role] for role in roles)
            pairs.append(ImagePair(stem, source, match["finding"], found[stem, "CXR_png"], masks, patient=stem))
    return pairs, skipped


def read_mask(paths: Iterable[Path]) -> NDArray[np.bool_]:
    """The union of the mask files, (height, width) bool, True = lung.

    Raises:
        ProblemError: a file is damaged, or the files differ in size.
    """
    parts = [decode(path.read_bytes()).pixels for path in paths]
    if len({part.shape for part in parts}) != 1:
        raise errors.DamagedImage("The left and the right mask differ in size.")
    # Half of the brightest value, not 0: masks saved through a lossy or resizing tool carry faint grey.
    return np.logical_or.reduce([part > part.max() / 2 for part in parts])


def read_splits(folder: Path) -> dict[str, str]:
    """``{film id: "train" | "validation" | "test"}`` from ``<folder>/<any set>/{train,validation,test}.txt``.

    Raises:
        ValueError: an image stands in two lists.
        FileNotFoundError: no list was found.
    """
    splits: dict[str, str] = {}
    for path in sorted(folder.rglob("*.txt")):
        if path.stem not in SPLITS:
            continue
        for name in path.read_text().split():
            if splits.setdefault(Path(name).stem, path.stem) != path.stem:
                raise ValueError(f"{Path(name).stem} stands in two split lists below {folder}")
    if not splits:
        raise FileNotFoundError(f"{folder} holds no train.txt, validation.txt or test.txt")
    return splits


def draw_splits(pairs: list[ImagePair], seed: int, test_share: float) -> dict[str, str]:
    """A seeded split: ``test_share`` set aside, the rest 80:20 train and validation, each set and finding alike."""
    splits: dict[str, str] = {}
    random = np.random.default_rng(seed)
    for stratum in sorted({(pair.source, pair.finding) for pair in pairs}):
        ids = np.array([pair.id for pair in pairs if (pair.source, pair.finding) == stratum])
        random.shuffle(ids)
        test = round(len(ids) * test_share)
        validation = round((len(ids) - test) * 0.2)
        for position, film in enumerate(ids):
            splits[str(film)] = SPLITS[2 if position < test else 1 if position < test + validation else 0]
    return splits


def read_quality(path: Path) -> dict[str, str]:
    """``{film id: verdict}`` from a CSV with the columns ``id`` and ``verdict`` (``bad``, ``doubtful``).

    Raises:
        ValueError: it has no such columns.
    """
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"id", "verdict"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has no columns id and verdict")
        return {row["id"]: row["verdict"] for row in rows}
