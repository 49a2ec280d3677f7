"""What decides the bytes of an image's outputs besides the image itself, as one digest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from lungseg import __version__
from lungseg.pipeline.options import Options

DIGITS = 32
"""Hex digits of a digest: 128 bits."""


@dataclass(frozen=True)
class Recipe:
    """The options and the models of a result. An HTTP ETag, S3 metadata and a folder's manifest carry its digest.

    Attributes:
        options: the choices about the image. The opacity of overlays does not count: it is one of the ``facts`` of
            formats that are drawn.
        models: the digests of the models' files (`Models.digests`).
    """

    options: Options
    models: tuple[str, ...]

    def digest(self, *facts: str | float) -> str:
        """Return hex digits that change with the recipe, with the version of this program and with ``facts``.

        Args:
            facts: what else the bytes depend on, such as the output format.
        """
        options = {name: value for name, value in asdict(self.options).items() if name != "opacity"}
        content = json.dumps([__version__, options, self.models, *facts])
        return hashlib.sha256(content.encode()).hexdigest()[:DIGITS]
