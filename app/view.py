"""How a film lies, and whether it is one: a small network that looks at every film before the lungs are sought."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import ModelError
from app.network import METADATA_KEY, WEIGHTS, open_session, threads

ANSWERS = 7
"""Numbers that the network gives: four of the turns, then mirrored, inverted and frontal."""


@dataclass(frozen=True)
class View:
    """What kind of picture a film looks like; all are probabilities, 0 to 1.

    A film is mirrored first and turned then: np.rot90(square, -turns) stands upright, mirrored still.

    Attributes:
        turns: (4,) float32, that the film has been turned by 0 to 3 quarter turns counter-clockwise.
        mirrored: that right and left are exchanged.
        inverted: that bone is dark.
        frontal: that it is a frontal chest radiograph at all.
    """

    turns: NDArray[np.float32]
    mirrored: float
    inverted: float
    frontal: float


class ViewNetwork:
    """The loaded network; one object serves every film, from several threads at once.

    Attributes:
        card: the facts that travel in its file.
        sha256: digest of the ONNX file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        """Load ``path`` and run on ``threads`` CPU threads.

        Raises:
            ModelError: the file is missing, is not ONNX, or is another network's.
        """
        self._session, self.sha256 = open_session(path, threads)
        try:
            self.card: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        except (KeyError, ValueError):
            raise ModelError(
                "The view network carries no card of this service; write it with `python -m model_export view`."
            ) from None
        if self._session.get_outputs()[0].shape != [1, ANSWERS]:
            raise ModelError("The model is none that tells how a film lies.")
        node = self._session.get_inputs()[0]
        self._input, self._size = node.name, node.shape[-1]

    def __call__(self, square: NDArray[np.float32]) -> View:
        """The view of a film in the segmentation network's input, (1, 1, size, size) float32 of any size."""
        if square.shape[-1] != self._size:
            image = Image.fromarray(square[0, 0]).resize((self._size, self._size), Image.Resampling.BILINEAR)
            square = np.asarray(image)[np.newaxis, np.newaxis]
        (found,) = self._session.run(None, {self._input: square})
        turns, (mirrored, inverted, frontal) = np.split(np.asarray(found)[0], [4])
        return View(turns, float(mirrored), float(inverted), float(frontal))


@functools.cache
def load_view() -> ViewNetwork:
    """The view network of this process, loaded once.

    Raises:
        ModelError.
    """
    return ViewNetwork(WEIGHTS.with_name("view.onnx"), threads())
