"""`label`: a prepared folder whose masks of some sets were drawn by a model: self-training on images alone.

A model that never saw a set's masks labels its images; what is trained on the new folder owes nothing to those masks.
Each image is segmented as it is and mirrored, and the mean of both is taken. Test images are not labelled. Training and
its choice of an epoch go by the new masks; `evaluate` and the gate of the INT8 export by the images' own, as ever.
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
    """Copy the prepared folder ``index`` to ``output``, the masks of ``sources`` replaced by the model's.

    The verdicts on the replaced masks go with them, and images that had no mask get one. An image in which the model
    finds no lung is left out, as skipped.csv says.

    Raises:
        ValueError: the model owes something to those masks, works at another size, ``index`` has no image of those
            sets, or one of them has field masks.
        FileExistsError: ``output`` is there already.
    """
    known, owed = {row.source for row in index.rows}, find_mask_origins(model.card.training)
    if not sources or not set(sources) <= known:
        raise ValueError(f"the sets to label are {', '.join(sources) or 'not named'}; there are {', '.join(known)}")
    fields = {row.source for row in index.rows if row.kind == "field"} & set(sources)
    if fields:
        raise ValueError(
            f"{', '.join(sorted(fields))} has field masks, which a lung mask would replace; label sets with lung masks "
            "or none"
        )
    if owed & set(sources):
        raise ValueError(f"the model owes its weights to masks of {', '.join(sorted(owed))}; it would only repeat them")
    if model.card.input.size != index.size:
        raise ValueError(f"the model takes {model.card.input.size} pixels, the images were prepared at {index.size}")
    if output.exists():
        raise FileExistsError(f"{output} is there already; name another folder")
    # The folder gets its name when it is whole: one that is half labelled must not be trained on.
    partial = output.with_name(f"{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(index.folder, partial)
    rows, skipped = [], []
    for row in tqdm(index.rows, desc="label", unit="film"):
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
    film = paste_box(standardise(image[geometry.box], model.card.input), geometry)
    inputs = np.repeat(film[np.newaxis, np.newaxis], model.card.input.channels, axis=1)
    mirrored = np.ascontiguousarray(inputs[..., ::-1])
    probability = (model(inputs)[0] + model(mirrored)[0, :, ::-1]) / 2
    mask = np.zeros(image.shape, bool)
    mask[geometry.box] = probability[geometry.box] > model.card.threshold
    if not mask.any():
        return None
    Image.fromarray(mask).save(output / "masks" / f"{row.id}.png")
    digest = hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest()
    return replace(row, kind="lung", quality=QUALITIES[-1], sha256=digest)
