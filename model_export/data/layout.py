"""Find images and their lung masks in the layout of the public Kaggle sets, at any depth below one folder.

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
    """An image and the files of its mask: two in Montgomery (left and right lung), one in Shenzhen.

    Attributes:
        id: its name, unique over all sets.
        source: the name of its set.
        finding: as the set states it; in the public sets "0" is normal and "1" tuberculosis.
        image: its file.
        masks: the files whose union is its mask; empty if its kind is "none".
        patient: the patient's id.
        kind: what its mask holds: "lung", "field" or "none" (`hospital`).
        licence: of the image, if the set states one.
        split: if the set states one.
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
    """An image, or a mask without an image, that cannot be used, and the reason."""

    id: str
    reason: str


def find_pairs(root: Path) -> tuple[list[ImagePair], list[SkippedImage]]:
    """Return all pairs below ``root``, sorted by id, and images or masks without their counterpart.

    Raises:
        FileNotFoundError: ``root`` has no image of either set.
    """
    matches: dict[str, re.Match[str]] = {}
    found: dict[tuple[str, str], Path] = {}
    for path in sorted(root.rglob("*.png")):
        kind, stem = path.parent.name, path.stem.removesuffix("_mask")
        match = IMAGE_NAME.fullmatch(f"{stem}.png")
        if match is None:
            continue
        role = kind if kind in ("CXR_png", "leftMask", "rightMask") else "mask" if stem != path.stem else None
        if role is not None:
            matches.setdefault(stem, match)
            found.setdefault((stem, role), path)
    if not matches:
        raise FileNotFoundError(f"{root} has no image in the layout of the Montgomery or Shenzhen set")

    pairs, skipped = [], []
    for stem, match in sorted(matches.items()):
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
    """Return the union of the mask files, (height, width) bool, True = lung.

    Raises:
        ProblemError: a file is damaged, or the files differ in size.
    """
    parts = [decode(path.read_bytes()).pixels for path in paths]
    if len({part.shape for part in parts}) != 1:
        raise errors.DamagedImage("The left and the right mask differ in size.")
    # Half of the brightest value, not 0: lossy or resizing tools leave faint greys on edges.
    return np.logical_or.reduce([part > part.max() / 2 for part in parts])


def read_splits(folder: Path) -> dict[str, str]:
    """Return the split of each image id from ``<folder>/<any set>/{train,validation,test}.txt``.

    Raises:
        ValueError: an image is in two lists.
        FileNotFoundError: there is no list.
    """
    splits: dict[str, str] = {}
    for path in sorted(folder.rglob("*.txt")):
        if path.stem not in SPLITS:
            continue
        for name in path.read_text().split():
            if splits.setdefault(Path(name).stem, path.stem) != path.stem:
                raise ValueError(f"{Path(name).stem} is in two split lists below {folder}")
    if not splits:
        raise FileNotFoundError(f"{folder} has no train.txt, validation.txt or test.txt")
    return splits


def draw_splits(pairs: list[ImagePair], seed: int, test_share: float) -> dict[str, str]:
    """Draw a seeded split, stratified by set and finding: ``test_share``, then 80:20 train and validation."""
    splits: dict[str, str] = {}
    random = np.random.default_rng(seed)
    for stratum in sorted({(pair.source, pair.finding) for pair in pairs}):
        ids = np.array([pair.id for pair in pairs if (pair.source, pair.finding) == stratum])
        random.shuffle(ids)
        test = round(len(ids) * test_share)
        validation = round((len(ids) - test) * 0.2)
        for position, image_id in enumerate(ids):
            splits[str(image_id)] = SPLITS[2 if position < test else 1 if position < test + validation else 0]
    return splits


def read_quality(path: Path) -> dict[str, str]:
    """Return the verdict on each image's mask from a CSV with the columns ``id`` and ``verdict`` (bad, doubtful).

    Raises:
        ValueError: a column is missing.
    """
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"id", "verdict"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} needs the columns id and verdict")
        return {row["id"]: row["verdict"] for row in rows}
