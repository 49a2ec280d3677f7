"""`label`: replace the masks of some sets by a model's predictions, for self-training.

A model that never saw a set's masks labels its images; a model trained on the new folder does not derive from those
masks. The probability is the mean over the image and its mirror image. Test images are not labelled. Training and the
choice of the epoch use the new masks; `evaluate` and the gate of the INT8 export use the reference masks.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lungseg.model.lung import LungModel
from lungseg.model.preprocess import paste_box, standardise
from model_export.data.index import QUALITIES, Index, IndexRow, find_mask_origins, read_index, read_square, write_index
from model_export.data.layout import SkippedImage


def label_images(index: Index, model: LungModel, sources: tuple[str, ...], output: Path) -> Index:
    """Copy the prepared folder ``index`` to ``output``, with the masks of ``sources`` predicted by ``model``.

    The quality verdicts on the replaced masks are dropped, and images without a mask get one. Images in which the model
    finds no lung are left out and listed in skipped.csv.

    Raises:
        ValueError: the model derives from those masks or takes another size, or ``index`` does not have those sets, or
            one of them has field masks.
        FileExistsError: ``output`` already exists.
    """
    known, owed = {row.source for row in index.rows}, find_mask_origins(model.card.training)
    if not sources or not set(sources) <= known:
        raise ValueError(f"the sets to label are {', '.join(sources) or 'not named'}; the index has {', '.join(known)}")
    fields = {row.source for row in index.rows if row.kind == "field"} & set(sources)
    if fields:
        raise ValueError(
            f"{', '.join(sorted(fields))} has field masks, which would be lost; label only sets with lung masks or "
            "without masks"
        )
    if owed & set(sources):
        raise ValueError(
            f"the model was trained on masks of {', '.join(sorted(owed))}; label with one that never saw them"
        )
    if model.card.input.size != index.size:
        raise ValueError(
            f"the model takes {model.card.input.size} pixels, but the images were prepared at {index.size}"
        )
    if output.exists():
        raise FileExistsError(f"{output} already exists; name another folder")
    # The folder gets its name when it is complete: a half-labelled one must not be trained on.
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(index.folder, partial)
    rows, skipped = [], []
    for row in tqdm(index.rows, desc="label", unit="image"):
        chosen = row.source in sources and row.split != "test"
        labelled = _label_one(index, row, model, partial) if chosen else row
        if labelled is None:
            skipped.append(SkippedImage(row.id, "the model finds no lung in it"))
        else:
            rows.append(labelled)
    by = {"by": f"{model.card.name}, trained on {', '.join(model.card.training['sources'])}", "masks_of": sorted(owed)}
    drawn = index.labelled | dict.fromkeys(sources, by)
    write_index(partial, rows, skipped, index.input, index.size, {"as": str(index.folder)}, drawn)
    partial.rename(output)
    return read_index(output)


def _label_one(index: Index, row: IndexRow, model: LungModel, output: Path) -> IndexRow | None:
    image = read_square(index, "images", row)
    geometry = row.geometry(index.size)
    square = paste_box(standardise(image[geometry.box], model.card.input), geometry)
    inputs = np.repeat(square[np.newaxis, np.newaxis], model.card.input.channels, axis=1)
    mirrored = np.ascontiguousarray(inputs[..., ::-1])
    probability = (model(inputs)[0] + model(mirrored)[0, :, ::-1]) / 2
    mask = np.zeros(image.shape, bool)
    mask[geometry.box] = probability[geometry.box] > model.card.threshold
    if not mask.any():
        return None
    Image.fromarray(mask).save(output / "masks" / f"{row.id}.png")
    digest = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
    return replace(row, kind="lung", quality=QUALITIES[-1], sha256=digest)
