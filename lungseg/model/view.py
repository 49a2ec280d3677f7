"""The small network that tells how an image is rotated, and whether it is a frontal chest radiograph."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg.errors import ModelError
from lungseg.model.card import CARD_ERRORS, METADATA_KEY, read_input_spec
from lungseg.model.preprocess import InputSpec
from lungseg.model.session import WEIGHTS_FOLDER, check_single_node, open_session, thread_count

VIEW_WEIGHTS = WEIGHTS_FOLDER / "view.onnx"

VIEW_OUTPUTS = 7
"""Numbers that the network predicts: four for the rotation, then mirrored, inverted and frontal."""


@dataclass(frozen=True)
class View:
    """What an image looks like, as probabilities from 0 to 1.

    An image is mirrored first, then rotated: np.rot90(square, -turns) is upright, and still mirrored.

    Attributes:
        turns: (4,) float32, that the image is rotated by 0 to 3 quarter turns counter-clockwise.
        mirrored: that right and left are swapped.
        inverted: that bone is dark.
        frontal: that the image is a frontal chest radiograph.
    """

    turns: NDArray[np.float32]
    mirrored: float
    inverted: float
    frontal: float


class ViewNetwork:
    """A loaded view network. One object serves every image, from several threads at once.

    Attributes:
        card: the facts in its file.
        sha256: digest of the ONNX file.
    """

    def __init__(self, path: Path, threads: int) -> None:
        """Load ``path`` and run on ``threads`` CPU threads.

        Raises:
            ModelError: the file is missing, damaged, not ONNX, or another network's.
        """
        self._session, self.sha256 = open_session(path, threads)
        try:
            self.card = _read_card(self._session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        except CARD_ERRORS:
            raise ModelError(
                "The view network carries no card of this service; write it with `python -m model_export view`."
            ) from None
        if [output.shape for output in self._session.get_outputs()] != [[1, VIEW_OUTPUTS]]:
            raise ModelError("The model is not a view network.")
        spec = InputSpec(**self.card["input"])
        self._size = spec.size
        self._input = check_single_node(self._session.get_inputs(), [1, spec.channels, spec.size, spec.size])

    def __call__(self, square: NDArray[np.float32]) -> View:
        """Return the view of an image, given as the lung network's input, (1, 1, size, size) float32 of any size."""
        if square.shape[-1] != self._size:
            image = Image.fromarray(square[0, 0]).resize((self._size, self._size), Image.Resampling.BILINEAR)
            square = np.asarray(image)[np.newaxis, np.newaxis]
        (found,) = self._session.run(None, {self._input: square})
        turns, (mirrored, inverted, frontal) = np.split(np.asarray(found)[0], [4])
        return View(turns, float(mirrored), float(inverted), float(frontal))


def _read_card(text: str) -> dict[str, Any]:
    """Return the card of a view network.

    Raises:
        CARD_ERRORS: the text is not a valid card.
    """
    card: dict[str, Any] = json.loads(text)
    read_input_spec(card["input"])
    kinds = {name: type(fact) for name, fact in card.items()}
    if kinds != {"name": str, "input": dict, "training": dict, "metrics": dict} or not card["name"]:
        raise ValueError("a fact is missing or wrong")
    return card


@functools.cache
def load_view() -> ViewNetwork:
    """Return the view network of this process, loaded once.

    Raises:
        ModelError.
    """
    return ViewNetwork(VIEW_WEIGHTS, thread_count())
