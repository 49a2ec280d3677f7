"""The models that every image needs, as one bundle."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields

from lungseg.model.lung import LungModel, load_lung
from lungseg.model.view import ViewNetwork, load_view


@dataclass(frozen=True)
class Models:
    """The loaded models; those that are not given are the ones that this process serves.

    A new model is a file in this package and a line here.

    Attributes:
        lung: segments the lungs.
        view: tells how the image is rotated, and whether it is a frontal chest radiograph.
    """

    lung: LungModel = field(default_factory=load_lung)
    view: ViewNetwork = field(default_factory=load_view)

    @property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of each model's file."""
        return tuple(getattr(self, each.name).sha256 for each in fields(self))


@functools.cache
def load_models() -> Models:
    """Return the models that this process serves, loaded once.

    Raises:
        ModelError: a model cannot be loaded.
    """
    return Models()
