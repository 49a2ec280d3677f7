"""A model of the Python API: loaded once, used for many images."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lungseg import settings
from lungseg.model.lung import LUNG_WEIGHTS, model_names, open_lung
from lungseg.model.models import Models
from lungseg.model.session import thread_count
from lungseg.model.view import VIEW_WEIGHTS, ViewNetwork

MAX_CACHED_MODELS = 4


@dataclass(frozen=True, repr=False)
class Model:
    """The networks that segment an image. Make one with `Model.load`.

    It can be used from several threads at once, and pickled: it is then loaded again where it is unpickled.

    >>> Model.names()
    ('lung_unet', 'lung_unet_open')
    >>> Model.load("lung_unet_open").name
    'lung_unet_open'

    Attributes:
        source: the name or path that it was loaded from.
        threads: CPU threads for one image.
    """

    source: str
    threads: int
    _models: Models = field(compare=False)

    @classmethod
    def load(cls, model: str | os.PathLike[str] | None = None, *, threads: int | None = None) -> Model:
        """Load a model.

        Args:
            model: a name of `Model.names`, or the path of an ONNX file that `python -m model_export export` wrote. None
                is the model that the environment variable LUNG_MODEL names, else lung_unet.
            threads: CPU threads for one image; None is LUNG_THREADS, else all cores.

        Raises:
            ModelError: there is no such model (the text lists the names), or its file is invalid.
            ValueError: the number of threads is below 1.
        """
        source = settings.MODEL.read(LUNG_WEIGHTS.stem) if model is None else os.fspath(model)
        threads = thread_count() if threads is None else threads
        if threads < 1:
            raise ValueError("a model needs at least 1 thread")
        return cls(source, threads, Models(open_lung(source, threads), ViewNetwork(VIEW_WEIGHTS, threads)))

    @staticmethod
    def names() -> tuple[str, ...]:
        """Return the names of the models in this package; the default is first."""
        return model_names()

    @property
    def name(self) -> str:
        """The name without folder and suffix, as `lung_unet`."""
        return Path(self.source).stem

    @property
    def precision(self) -> str:
        """The precision that this processor runs it in, "int8" or "fp32"."""
        return self._models.lung.card.precision

    @property
    def sha256(self) -> str:
        """The SHA-256 of the model's file, as hexadecimal digits."""
        return self._models.lung.sha256

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.precision}, sha256 {self.sha256[:12]})"

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[str, int]]:
        return _reload, (self.source, self.threads)


ModelLike = Model | str | os.PathLike[str]
"""A loaded model, the name of one, or the path of an ONNX file."""


def loaded_models(model: ModelLike | None) -> Models | None:
    """Return the networks of a model; None for the process's own. A name or path is loaded once.

    Raises:
        ModelError.
    """
    if model is None:
        return None
    return (model if isinstance(model, Model) else _load_cached(os.fspath(model)))._models


@functools.lru_cache(MAX_CACHED_MODELS)
def _load_cached(source: str) -> Model:
    return Model.load(source)


def _reload(source: str, threads: int) -> Model:
    return Model.load(source, threads=threads)
