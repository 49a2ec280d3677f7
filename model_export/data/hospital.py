"""A further hospital as a folder: images/, masks/ and index.csv.

    index.csv    id, patient, split; optional: view, finding, licence, kind
    images/      <id>.png, .jpg, .dcm ...: any input format of the service
    masks/       <id>.png, as large as the image, white = inside; none if the kind is "none"

``kind`` says what a mask holds: "lung" (both lungs), "field" (both lungs and the heart's shadow between) or "none".
``split`` is train, validation or test, and the same for all images of a patient.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from model_export.data.layout import SPLITS, ImagePair, SkippedImage

MASK_KINDS = ("lung", "field", "none")

REQUIRED_COLUMNS = {"id", "patient", "split"}


def read_hospital(folder: Path, kind: str | None) -> tuple[list[ImagePair], list[SkippedImage]]:
    """Return the images of a further hospital in the order of its index, and those without a file.

    Args:
        folder: its folder, whose name becomes the name of the set.
        kind: what its masks hold, if index.csv has no column kind.

    Raises:
        FileNotFoundError: there is no index.csv.
        ValueError: index.csv lacks a column or has an unknown kind or split, a duplicate id or a patient in two splits.
    """
    path = folder / "index.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} needs an index.csv with the columns {', '.join(sorted(REQUIRED_COLUMNS))}")
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        lines, missing = list(table), REQUIRED_COLUMNS - set(table.fieldnames or ())
    if missing:
        raise ValueError(f"{path} lacks the column {' and '.join(sorted(missing))}")
    files = {part: _by_stem(folder / part) for part in ("images", "masks")}
    pairs, skipped, splits = [], [], dict[str, str]()
    for line in lines:
        name, patient, split = line["id"], line["patient"], line["split"]
        held = line.get("kind") or kind
        if held not in MASK_KINDS:
            raise ValueError(
                f"{path}: the kind of {name} is {held!r}; it can be {', '.join(MASK_KINDS)}, as in {folder}:lung"
            )
        if split not in SPLITS:
            raise ValueError(f"{path}: the split of {name} is {split!r}; it can be {', '.join(SPLITS)}")
        if splits.setdefault(patient, split) != split:
            raise ValueError(f"{path}: patient {patient} is in {splits[patient]} and in {split}")
        image, mask = files["images"].get(name), files["masks"].get(name)
        if image is None or (mask is None and held != "none"):
            skipped.append(SkippedImage(f"{folder.name}-{name}", "no image" if image is None else "no mask"))
            continue
        pairs.append(
            ImagePair(
                id=f"{folder.name}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}",
                source=folder.name,
                finding=line.get("finding", ""),
                image=image,
                masks=() if held == "none" or mask is None else (mask,),
                patient=patient,
                kind=held,
                licence=line.get("licence", ""),
                split=split,
            )
        )
    ids = [pair.id for pair in pairs]
    twice = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None
    if twice is not None:
        raise ValueError(f"{path} has the id {twice} twice")
    return pairs, skipped


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by their stems; empty if there is no such folder."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.is_file()} if folder.is_dir() else {}
