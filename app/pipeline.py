"""One film in, one mask out. Every door calls `segment`; nothing else joins decoding, network and mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app import network
from app.decode import Radiograph, decode
from app.preprocess import preprocess, restore


class Model(Protocol):
    """What `segment` needs of a model: `network.Network`, or a checkpoint that is being evaluated."""

    card: network.Card

    def __call__(self, radiograph: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Result:
    """What was found in one film.

    Attributes:
        radiograph: the film, decoded.
        probability: (height, width) float32 in [0, 1], of lung, on the film's own grid.
        mask: (height, width) bool, True = lung.
    """

    radiograph: Radiograph
    probability: NDArray[np.float32]
    mask: NDArray[np.bool_]

    @property
    def lung_share(self) -> float:
        """The part of the film that is lung, 0 to 1."""
        return float(self.mask.mean())


def segment(data: bytes, model: Model | None = None) -> Result:
    """Segment the lungs of one frontal chest radiograph.

    Args:
        data: the film's file, as bytes.
        model: the model; the one this process serves if None.

    Raises:
        FilmError: the film is refused; the subclass says why.
        ModelError: the model cannot be loaded.
    """
    model = model or network.load()
    radiograph = decode(data)
    inputs, geometry = preprocess(radiograph.pixels, model.card.input)
    probability = restore(model(inputs), geometry)
    return Result(radiograph, probability, probability > model.card.threshold)
