"""`label`: a prepared folder whose masks of some sets were drawn by a model: self-training on films alone.

A model that never saw a set's masks labels its films; what is trained on the new folder owes nothing to those masks.
Each film is segmented as it is and mirrored, and the mean of both is taken. Test films keep their index lines, but are
not labelled: they are scored against their own masks, as everywhere.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from app.pipeline import Model
from app.preprocess import place, standardise
from model_export.index import Index, Row, read_index, write_index

QUALITY = "drawn by a model"


def label(index: Index, model: Model, sources: tuple[str, ...], output: Path) -> Index:
    """Copy the prepared folder ``index`` to ``output``, the masks of ``sources`` replaced by the model's.

    The verdicts on the replaced masks go with them.

    Raises:
        ValueError: the model saw those masks, works at another size, or ``index`` has no film of those sets.
        FileExistsError: ``output`` is there already.
    """
    known = {row.source for row in index.rows}
    if not sources or not set(sources) <= known:
        raise ValueError(f"the sets to label are {', '.join(sources) or 'not named'}; there are {', '.join(known)}")
    seen = set(sources) & (set(model.card.training["sources"]) - model.card.training["labelled"].keys())
    if seen:
        raise ValueError(f"the model was trained on the masks of {', '.join(sorted(seen))}; it would only repeat them")
    if model.card.input.size != index.size:
        raise ValueError(f"the model takes {model.card.input.size} pixels, the films were prepared at {index.size}")
    if output.exists():
        raise FileExistsError(f"{output} is there already; name another folder")
    shutil.copytree(index.folder, output)
    rows = []
    for row in tqdm(index.rows, desc="label", unit="film"):
        chosen = row.source in sources and row.split != "test"
        rows.append(_label_one(index, row, model, output) if chosen else row)
    by = f"{model.card.name}, trained on {', '.join(model.card.training['sources'])}"
    labelled = index.labelled | dict.fromkeys(sources, by)
    write_index(output, rows, [], index.input, index.size, {"as": str(index.folder)}, labelled)
    return read_index(output)


def _label_one(index: Index, row: Row, model: Model, output: Path) -> Row:
    with Image.open(index.folder / "images" / f"{row.id}.png") as picture:
        image = np.asarray(picture)
    geometry = row.geometry(index.size)
    film = place(standardise(image[geometry.box], model.card.input), geometry)
    inputs = np.repeat(film[np.newaxis, np.newaxis], model.card.input.channels, axis=1)
    mirrored = np.ascontiguousarray(inputs[..., ::-1])
    probability = (model(inputs) + model(mirrored)[:, ::-1]) / 2
    mask = np.zeros(image.shape, bool)
    mask[geometry.box] = probability[geometry.box] > model.card.threshold
    Image.fromarray(mask).save(output / "masks" / f"{row.id}.png")
    return replace(row, quality=QUALITY, sha256=hashlib.sha256(image.tobytes() + mask.tobytes()).hexdigest())
