"""What was found in one image: kept on the network's grid, brought to the image's own when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg.decode import Radiograph
from lungseg.model.lung import ModelIdentity
from lungseg.model.preprocess import Geometry
from lungseg.pipeline.mask import Region
from lungseg.pipeline.pose import Pose
from lungseg.pipeline.upsample import upsample_bits, upsample_probability
from lungseg.pipeline.verdict import Verdict


@dataclass(frozen=True)
class Result:
    """One image's lungs.

    Attributes:
        radiograph: the image, decoded.
        geometry: how the image's grid and the network's fit together.
        model: the model that found them.
        threshold: what lung lies above, in (0, 1).
        pose: how the image was taken to lie.
        verdict: whether to rely on the mask.
        raw: (box_height, box_width) float32 in [0, 1], what the network gave, as the image lies.
        field: the same of the field; None if the model does not predict it.
        cleaned: the lung's without specks and holes, if cleaning was asked for.
        sides: (box_height, box_width) uint8, mask.RIGHT or mask.LEFT: which lung each pixel would belong to.
        regions: the connected parts of the mask, in pixels of that grid, largest first.
        milliseconds: time of each stage, in order.
    """

    radiograph: Radiograph
    geometry: Geometry
    model: ModelIdentity
    threshold: float
    pose: Pose
    verdict: Verdict
    raw: NDArray[np.float32]
    field: NDArray[np.float32] | None
    cleaned: NDArray[np.float32]
    sides: NDArray[np.uint8]
    regions: tuple[Region, ...]
    milliseconds: dict[str, float]

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """(height, width) float32 in [0, 1], of lung, on the image's own grid; not cleaned."""
        return upsample_probability(self.raw, self.geometry)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask, (height, ceil(width / 8)) uint8, eight pixels a byte as np.packbits gives them; 1 = lung."""
        return upsample_bits(self.cleaned, self.geometry, self.threshold)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(height, width) bool, True = lung."""
        return np.unpackbits(self.bits, axis=1, count=self.geometry.width).view(np.bool_)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(height, width) uint8: 0, mask.RIGHT (the patient's right lung) or mask.LEFT."""
        size = (self.geometry.width, self.geometry.height)
        sides = np.asarray(Image.fromarray(self.sides).resize(size, Image.Resampling.NEAREST))
        return sides * self.mask

    @property
    def lung_share(self) -> float:
        """The part of the image that is lung, 0 to 1."""
        return int(np.bitwise_count(self.bits).sum()) / (self.geometry.height * self.geometry.width)
