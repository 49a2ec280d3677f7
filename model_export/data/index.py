"""A prepared folder: its index of images, and the files that its rows name."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors
from lungseg.decode import Radiograph, decode
from lungseg.model.preprocess import Geometry
from model_export.data import layout

QUALITIES = ("ok", "bad", "doubtful", "drawn by a model")
"""Of a mask: no complaint, a verdict of `prepare --quality`, or predicted by `label`."""


@dataclass(frozen=True)
class IndexRow:
    """One line of index.csv.

    ``image`` and ``masks`` (joined by ";") are paths relative to the input folder; ``kind`` is one of
    `hospital.MASK_KINDS`.
    """

    id: str
    source: str
    patient: str
    kind: str
    finding: str
    licence: str
    split: str
    quality: str
    height: int
    width: int
    top: int
    left: int
    box_height: int
    box_width: int
    image: str
    masks: str
    sha256: str

    @classmethod
    def from_strings(cls, line: dict[str, str]) -> IndexRow:
        """Return a row from csv.DictReader's strings."""
        values: dict[str, Any] = dict(line)
        if set(values) != {attribute.name for attribute in fields(cls)}:
            raise ValueError("index.csv was written by another version of `prepare`; prepare the images again")
        for attribute in fields(cls):
            if attribute.type == "int":
                values[attribute.name] = int(line[attribute.name])
        return cls(**values)

    def geometry(self, size: int) -> Geometry:
        """Return the place of the image in its square."""
        return Geometry(self.height, self.width, size, self.top, self.left, self.box_height, self.box_width)


@dataclass(frozen=True)
class Index:
    """A prepared folder: its rows and prepare.json.

    ``split`` records how the images were split: by "lists", by a "seed" and "test_share", or "as" in another folder.
    ``labelled`` records for each set with predicted masks (`label`) ``by`` which model, and the sets whose masks that
    model derives from (``masks_of``).
    """

    folder: Path
    input: Path
    size: int
    rows: list[IndexRow]
    split: dict[str, Any]
    labelled: dict[str, Any] = field(default_factory=dict)

    def select(self, split: str, leave_out: tuple[str, ...] = (), sources: tuple[str, ...] = ()) -> list[IndexRow]:
        """Return the rows of a split that have a mask.

        Args:
            split: its name.
            leave_out: mask qualities to leave out.
            sources: the sets to take; all if empty.
        """
        return [
            row
            for row in self.rows
            if row.split == split
            and row.kind != "none"
            and row.quality not in leave_out
            and (not sources or row.source in sources)
        ]

    def select_images(self, split: str) -> list[IndexRow]:
        """Return the rows of a split, including those without a mask."""
        return [row for row in self.rows if row.split == split]

    def select_scored(self, split: str, leave_out: tuple[str, ...] = ()) -> list[IndexRow]:
        """Return the rows of a split with a lung mask of their own, against which a prediction can be scored.

        A field includes the heart: a perfect lung mask has a Dice of about 0.85 with it.
        """
        return [row for row in self.select(split, leave_out) if row.kind == "lung" and row.masks]


def read_index(folder: Path) -> Index:
    """Read a prepared folder's index.

    Raises:
        FileNotFoundError: ``folder`` was not written by `prepare`.
        ValueError: another version wrote it.
    """
    if not (folder / "index.csv").is_file():
        raise FileNotFoundError(f"{folder} has no index.csv; write it with: python -m model_export prepare")
    with (folder / "index.csv").open(newline="") as file:
        rows = [IndexRow.from_strings(line) for line in csv.DictReader(file)]
    facts = json.loads((folder / "prepare.json").read_text())
    return Index(folder, Path(facts["input"]), facts["size"], rows, facts["split"], facts.get("labelled", {}))


def read_square(index: Index, folder: str, row: IndexRow) -> NDArray[Any]:
    """Return the prepared square of a row, (size, size): uint8 of an image, bool of a mask.

    Args:
        index: the prepared folder.
        folder: "images" or "masks".
        row: one of the index's rows.
    """
    with Image.open(index.folder / folder / f"{row.id}.png") as image:
        return np.asarray(image)


def read_radiograph(index: Index, row: IndexRow) -> Radiograph:
    """Return the image that a row was prepared from.

    Raises:
        FileNotFoundError: it is missing from the input folder.
        ValueError: it is damaged.
    """
    try:
        return decode((index.input / row.image).read_bytes())
    except errors.ProblemError as error:
        raise ValueError(f"{row.image}: {error.detail}") from None


def read_target(index: Index, row: IndexRow) -> NDArray[np.bool_]:
    """Return the mask that a row was prepared from, (height, width) bool at full size, True = lung.

    Raises:
        FileNotFoundError: it is missing from the input folder.
        ValueError: it is damaged.
    """
    try:
        return layout.read_mask(index.input / name for name in row.masks.split(";"))
    except errors.ProblemError as error:
        raise ValueError(f"{row.masks}: {error.detail}") from None


def digest_rows(rows: list[IndexRow]) -> str:
    """Return a SHA-256 digest of the prepared pixels of ``rows``, in order of id."""
    total = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.id):
        total.update(f"{row.id} {row.sha256}\n".encode())
    return total.hexdigest()


def find_mask_origins(training: dict[str, Any]) -> set[str]:
    """Return the sets whose reference masks a model derives from, directly or through models that labelled for it.

    Args:
        training: the ``training`` part of the model's card.
    """
    labelled = training["labelled"]
    direct = set(training["sources"]) - labelled.keys()
    return direct.union(*(labeller["masks_of"] for labeller in labelled.values()))


def write_index(
    output: Path,
    rows: list[IndexRow],
    skipped: list[layout.SkippedImage],
    root: Path,
    size: int,
    split: dict[str, Any],
    labelled: dict[str, Any] | None = None,
) -> None:
    """Write index.csv, skipped.csv and, last, prepare.json with ``split`` and ``labelled``."""
    for name, kind, lines in (("index.csv", IndexRow, rows), ("skipped.csv", layout.SkippedImage, skipped)):
        with (output / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, [attribute.name for attribute in fields(kind)])
            writer.writeheader()
            writer.writerows(asdict(line) for line in lines)
    facts = {"input": str(root.resolve()), "size": size, "split": split, "labelled": labelled or {}}
    (output / "prepare.json").write_text(json.dumps(facts, indent=2) + "\n")
