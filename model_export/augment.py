"""What makes a training film look like one from elsewhere: exposure, noise and opacities first, then geometry.

The parts are MONAI's; every draw comes from one seed, so a film's augmentation in an epoch is always the same one.
"""

from __future__ import annotations

import monai.transforms as mt
import numpy as np
import torch
from monai.data.meta_obj import set_track_meta
from numpy.typing import NDArray

from app.preprocess import Geometry, InputSpec, place, standardise

set_track_meta(False)  # plain tensors: nothing here needs a film's position in a patient

KEYS = ["image", "mask"]

INVERTED = 0.15
"""Share of films shown as negatives: some are stored that way, and a MONOCHROME1 tag may lie."""

OPAQUE = 0.4
"""Share of films given opacities: the public sets have few, and a mass or a consolidation must not become a hole."""

EFFUSION = 0.2
"""Share of films of which one lung is filled from its base: where the lung ends must then be told by the rest."""


class Augment:
    """Turns a prepared film and its mask into the network's input and target, changed at random if ``enabled``.

    Args:
        spec: the network's input.
        enabled: False gives the film as serving will see it.
    """

    def __init__(self, spec: InputSpec, enabled: bool) -> None:
        self.spec = spec
        self.enabled = enabled
        self.exposure = mt.Compose(
            [
                mt.RandAdjustContrast(prob=0.5, gamma=(0.5, 2.0)),
                mt.RandHistogramShift(prob=0.1, num_control_points=(4, 8)),
                mt.RandBiasField(prob=0.15, degree=2, coeff_range=(-0.3, 0.3)),
                # Plates, labels and blackened fields.
                mt.RandCoarseDropout(
                    prob=0.15,
                    holes=1,
                    max_holes=3,
                    spatial_size=spec.size // 32,
                    max_spatial_size=spec.size * 9 // 64,
                    fill_value=0.8,
                ),
                mt.RandGaussianSmooth(prob=0.15, sigma_x=(0.5, 1.5), sigma_y=(0.5, 1.5)),
                mt.RandGaussianNoise(prob=0.3, std=0.05),
                mt.RandSimulateLowResolution(
                    prob=0.15, zoom_range=(0.35, 0.9), downsample_mode="area", upsample_mode="bilinear"
                ),
            ]
        )
        self.geometry = mt.Compose(
            [
                mt.RandAffined(
                    KEYS,
                    prob=0.9,
                    rotate_range=0.26,  # radians: 15 degrees either way
                    shear_range=(0.1, 0.1),
                    translate_range=(0.08 * spec.size, 0.08 * spec.size),
                    scale_range=((-0.25, 0.3), (-0.25, 0.3)),
                    mode="bilinear",  # the mask too: a pixel that an edge crosses is partly lung
                    padding_mode="zeros",
                ),
                mt.RandFlipd(KEYS, prob=0.3, spatial_axis=1),
            ]
        )

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], geometry: Geometry, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One example.

        Args:
            image, mask: the prepared square, (size, size).
            geometry: where the film lies in it.
            seed: decides every draw.

        Returns:
            input (channels, size, size) float32, standardised; target (1, size, size) float32, the share of each pixel
            that is lung.
        """
        box = image[geometry.box].astype(np.float32) / np.float32(255)
        if self.enabled:
            random = self.reseed(seed)
            if random.random() < OPAQUE:
                box = _add_opacities(box, mask[geometry.box], random)
            if random.random() < EFFUSION:
                box = _add_effusion(box, mask[geometry.box], random)
            box = np.asarray(self.exposure(torch.from_numpy(box)[None]))[0]
            if random.random() < INVERTED:
                box = -box
        square = place(standardise(box, self.spec), geometry)
        pair = {
            "image": torch.from_numpy(square)[None],
            "mask": torch.from_numpy(mask.astype(np.float32))[None],
        }
        if self.enabled:
            pair = self.geometry(pair)
        return pair["image"].expand(self.spec.channels, -1, -1).contiguous(), pair["mask"]

    def reseed(self, seed: int) -> np.random.Generator:
        """Let every further draw follow from ``seed``; the generator is for what is not MONAI's."""
        # Seeds of their own: transforms that share one draw alike, and every mirrored film would be a dark one.
        exposure, geometry, own = np.random.SeedSequence(seed).generate_state(3)
        self.exposure.set_random_state(int(exposure))
        self.geometry.set_random_state(int(geometry))
        return np.random.default_rng(own)


def _add_opacities(
    film: NDArray[np.float32], mask: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.float32]:
    """Lay one to four bright, soft-edged ellipses over lungs: masses and consolidations. They stay lung.

    Args:
        film: (height, width) in [0, 1].
        mask: (height, width), where the centres may lie.
    """
    film = film.copy()
    rows, columns = np.mgrid[: film.shape[0], : film.shape[1]].astype(np.float32)
    inside = np.argwhere(mask)
    for _ in range(random.integers(1, 5)):
        row, column = inside[random.integers(len(inside))]
        long, short = random.uniform(0.03, 0.2, 2) * max(film.shape)
        angle = random.uniform(0, np.pi)
        along = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
        across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
        distance = np.hypot(along / long, across / short)
        edge = random.uniform(0.03, 0.3)
        cover = random.uniform(0.4, 1.0) / (1 + np.exp(np.clip((distance - 1) / edge, -30, 30)))
        level = np.quantile(film[::8, ::8], random.uniform(0.6, 0.98))
        film += cover * np.maximum(level - film, 0)  # an opacity absorbs: it never darkens
    return film


def _add_effusion(
    film: NDArray[np.float32], mask: NDArray[np.bool_], random: np.random.Generator
) -> NDArray[np.float32]:
    """Fill one lung from its base up to a tenth to a half of its height, the level rising towards the chest wall.

    The white runs on below and beside the lung as a real effusion's does, so that no edge tells where the lung ends.

    Args:
        film: (height, width) in [0, 1].
        mask: (height, width), both lungs; the lung is the one on a side of the middle of the two.
    """
    columns = np.flatnonzero(mask.any(0))
    middle = (columns[0] + columns[-1]) // 2
    left = bool(random.integers(2))
    lung = mask[:, :middle] if left else mask[:, middle:]
    if not lung.any():
        return film
    rows, across = np.flatnonzero(lung.any(1)), np.flatnonzero(lung.any(0))
    first, last = (across[0], across[-1]) if left else (middle + across[0], middle + across[-1])
    height, width = rows[-1] - rows[0] + 1, last - first + 1
    rightwards = np.clip((np.arange(film.shape[1]) - first) / width, 0, 1)
    rise = (1 - rightwards if left else rightwards) ** random.uniform(1.5, 4) * random.uniform(0, 0.3)
    level = rows[-1] - height * (random.uniform(0.1, 0.5) + rise)
    edge = height * random.uniform(0.01, 0.06)
    depth = np.clip((np.arange(film.shape[0])[:, np.newaxis] - level) / edge, -30, 30)
    beside = np.minimum(np.arange(film.shape[1]) - first, last - np.arange(film.shape[1])) / (0.04 * width)
    cover = random.uniform(0.6, 1.0) / ((1 + np.exp(-depth)) * (1 + np.exp(-np.clip(beside, -30, 30) - 2)))
    white = np.quantile(film[::8, ::8], random.uniform(0.7, 0.95))
    return (film + cover * np.maximum(white - film, 0)).astype(np.float32)
