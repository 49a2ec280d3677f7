"""The result for one image: stored on the network's grid, upsampled to the image's own when it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg.decode import Radiograph
from lungseg.model.lung import ModelIdentity
from lungseg.model.preprocess import Geometry
from lungseg.pipeline.mask import Region
from lungseg.pipeline.options import DEFAULT_OPACITY
from lungseg.pipeline.pose import Pose
from lungseg.pipeline.upsample import upsample_bits, upsample_probability
from lungseg.pipeline.verdict import Verdict

NEUTRAL_STEM = "lungs"
"""For images without a file name, and for HTTP, which is sent none."""


@dataclass(frozen=True)
class Result:
    """The lungs of one image.

    Attributes:
        radiograph: the image, decoded.
        geometry: how the network's grid maps to the image's.
        model: the model that segmented it.
        threshold: a pixel is lung if its probability is above this, in (0, 1).
        pose: the detected pose of the image.
        verdict: whether to rely on the mask.
        raw: (box_height, box_width) float32 in [0, 1], the network's probability of lung, in the pose of the image.
        field: the same for the lung field; None if the model does not predict it.
        cleaned: `raw` without small fragments and holes; `raw` itself if cleaning is off.
        sides: (box_height, box_width) uint8, mask.RIGHT or mask.LEFT: the lung that each pixel would belong to.
        regions: the connected regions of the mask, in pixels of that grid, largest first.
        milliseconds: duration of each stage, in order.
        opacity: of the lungs in overlays, in [0, 1].
        archive_stem: what the names of a ZIP's members begin with (`naming.archive_stem`).
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
    opacity: float = DEFAULT_OPACITY
    archive_stem: str = dataclass_field(default=NEUTRAL_STEM, repr=False)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """The probability of lung on the image's own grid, (height, width) float32 in [0, 1]; not cleaned."""
        return upsample_probability(self.raw, self.geometry)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask, (height, ceil(width / 8)) uint8, packed eight pixels per byte as by np.packbits; 1 = lung."""
        return upsample_bits(self.cleaned, self.geometry, self.threshold)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The mask, (height, width) bool, True = lung."""
        return np.unpackbits(self.bits, axis=1, count=self.geometry.width).view(np.bool_)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """The lung of each pixel, (height, width) uint8: 0, mask.RIGHT (the patient's right lung) or mask.LEFT."""
        size = (self.geometry.width, self.geometry.height)
        sides = np.asarray(Image.fromarray(self.sides).resize(size, Image.Resampling.NEAREST))
        return sides * self.mask

    @property
    def lung_share(self) -> float:
        """The fraction of the image that is lung, 0 to 1."""
        return int(np.bitwise_count(self.bits).sum()) / (self.geometry.height * self.geometry.width)
