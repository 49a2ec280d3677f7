"""A segmenter for engines that process tables in batches, on one machine or many: Ray Data, Spark, Dask."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lungseg.encode.formats import encode_each
from lungseg.errors import ProblemError
from lungseg.library.model import Model
from lungseg.library.result import named_format
from lungseg.library.segment import segment
from lungseg.pipeline.options import Options

BYTES_COLUMN = "bytes"
"""The column of images, as `ray.data.read_binary_files` names it."""

Batch = dict[str, NDArray[Any]]


class Segmenter:
    """Segments the images of a batch, which is a mapping of columns. Can be pickled; loads its model on first use.

    With Ray Data, one model per actor:

        files = ray.data.read_binary_files("images/", include_paths=True)
        masks = files.map_batches(Segmenter, batch_size=16, compute=ray.data.ActorPoolStrategy(size=4))

    With Spark, in a function for `mapInPandas`:

        def segment_frames(frames):
            segmenter = Segmenter()
            for frame in frames:
                batch = {name: frame[name].to_numpy() for name in frame.columns}
                yield pandas.DataFrame({name: list(column) for name, column in segmenter(batch).items()})

    >>> from pathlib import Path
    >>> batch = {"path": ["a.dcm", "b.dcm"], "bytes": [Path("image.dcm").read_bytes(), b"not an image"]}
    >>> found = Segmenter()(batch)
    >>> list(found)
    ['path', 'mask', 'decision', 'expected_dice', 'error']
    >>> found["decision"].tolist(), found["error"].tolist()
    (['accept', None], [None, 'unsupported-format'])
    >>> found["mask"][0][:8]
    b'\\x89PNG\\r\\n\\x1a\\n'
    """

    def __init__(
        self,
        formats: Sequence[str] = ("mask",),
        *,
        threshold: float | None = None,
        clean: bool = True,
        upright: bool = True,
        model: str | os.PathLike[str] | None = None,
        threads: int = 1,
    ) -> None:
        """Choose what to make of each image.

        Args:
            formats: names of output formats; each becomes a column of bytes.
            threshold: as for `segment`.
            clean: as for `segment`.
            upright: as for `segment`.
            model: the name of a model, or the path of an ONNX file on every machine; None is the default.
            threads: CPU threads for one image. One is right where there are as many actors as cores.

        Raises:
            ValueError: there is no such format, or the threshold is not between 0 and 1.
        """
        Options(threshold, clean, upright)
        self._formats = tuple(named_format(name).name for name in formats)
        self._choices: dict[str, Any] = {"threshold": threshold, "clean": clean, "upright": upright}
        self._source, self._threads = model, threads
        self._model: Model | None = None

    def __call__(self, batch: Mapping[str, Sequence[Any] | NDArray[Any]]) -> Batch:
        """Segment the images of a batch.

        Args:
            batch: columns of one length; "bytes" has the content of each image's file.

        Returns:
            The other columns as they are, then of each image: a column for each format, its bytes; "decision", the
            verdict; "expected_dice", NaN if there is none; "error", the codes of its problems. What an image does not
            have is None. An image that fails does not stop the others.

        Raises:
            KeyError: there is no column "bytes".
            ModelError: the model cannot be loaded.
        """
        if BYTES_COLUMN not in batch:
            raise KeyError(f"the batch has no column {BYTES_COLUMN!r}; its columns are {', '.join(map(repr, batch))}")
        if self._model is None:
            self._model = Model.load(self._source, threads=self._threads)
        rows = [self._segment_row(data, self._model) for data in batch[BYTES_COLUMN]]
        kept = {name: np.asarray(column) for name, column in batch.items() if name != BYTES_COLUMN}
        made = {name: _object_column([row.get(name) for row in rows]) for name in (*self._formats, "decision")}
        dice = np.array([row.get("expected_dice", np.nan) for row in rows], np.float64)
        return {**kept, **made, "expected_dice": dice, "error": _object_column([row.get("error") for row in rows])}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_model": None}

    def _segment_row(self, data: bytes, model: Model) -> dict[str, Any]:
        """Return the new columns of one image."""
        try:
            result = segment(data, model=model, **self._choices)
        except ProblemError as error:
            return {"error": error.code}
        contents, problems = encode_each(result, self._formats)
        dice = np.nan if result.expected_dice is None else result.expected_dice
        codes = " ".join(error.code for error in problems.values())
        return {**contents, "decision": str(result.verdict.decision), "expected_dice": dice, "error": codes or None}


def _object_column(values: list[Any]) -> NDArray[Any]:
    """Return a column of objects: NumPy would cut bytes that end with zeros."""
    column = np.empty(len(values), object)
    column[:] = values
    return column
