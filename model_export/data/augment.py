"""Augment training images, so that they look like images from elsewhere: sickness, exposure, geometry.

Sickness is drawn by `sickness`, the rest by MONAI. All draws follow from one seed, so an image's augmentation in an
epoch is reproducible.
"""

from __future__ import annotations

from dataclasses import replace

import monai.transforms as mt
import numpy as np
import torch
from monai.data.meta_obj import set_track_meta
from numpy.typing import NDArray

from lungseg.model.preprocess import Geometry, InputSpec, paste_box, standardise
from model_export.data.sickness import make_sick
from model_export.data.truth import split_known

set_track_meta(False)  # plain tensors: no MONAI metadata is used

KEYS = ["image", "truth"]

INVERTED_SHARE = 0.15
"""Share of inverted images: some are stored that way, and a MONOCHROME1 tag may be wrong."""

WIDE_SHARE = 0.15
"""Share of images rotated by up to 25 degrees instead of 15 and scaled more, as in portable or children's images."""

MAX_UNKNOWN = 0.01
"""A warped pixel is known if less than this share of it is unknown."""

CROPPED_SHARE = 0.15
"""Share of images with a border cut off, so that lungs may touch it."""


class Augment:
    """Turn a prepared image and its mask into the network's input and target, augmented if ``enabled``.

    Args:
        spec: the network's input.
        enabled: False returns the image as serving sees it.
        outputs: number of targets: 1 is lung, 2 lung and field.
    """

    def __init__(self, spec: InputSpec, enabled: bool, outputs: int = 1) -> None:
        self.spec = spec
        self.enabled = enabled
        self.outputs = outputs
        self.exposure = mt.Compose(
            [
                mt.RandAdjustContrast(prob=0.5, gamma=(0.5, 2.0)),
                mt.RandHistogramShift(prob=0.1, num_control_points=(4, 8)),
                mt.RandBiasField(prob=0.15, degree=2, coeff_range=(-0.3, 0.3)),
                # Plates, labels and other opaque blocks.
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
        self.usual = _affine(spec, degrees=15, least=0.75, most=1.3)
        self.wide = _affine(spec, degrees=25, least=0.6, most=1.5)

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[np.bool_], geometry: Geometry, seed: int, kind: str = "lung"
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return one example.

        Args:
            image, mask: the prepared square, (size, size).
            geometry: the place of the image in it.
            seed: seed of all draws.
            kind: what the mask holds, "lung" or "field".

        Returns:
            input (channels, size, size) float32, standardised; target (outputs, size, size) float32, the share of each
            pixel that is lung or field; known (outputs, size, size) float32, 1 where the target is known, else 0.
        """
        target, unknown = split_known(mask, kind)
        box = image[geometry.box].astype(np.float32) / np.float32(255)
        wide = False
        if self.enabled:
            random = self.reseed(seed)
            box = make_sick(box, mask[geometry.box], random)
            box = np.asarray(self.exposure(torch.from_numpy(box)[None]))[0]
            if random.random() < INVERTED_SHARE:
                box = -box
            if random.random() < CROPPED_SHARE:
                box, target, unknown, geometry = _crop(box, target, unknown, geometry, random)
            wide = bool(random.random() < WIDE_SHARE)
        square = paste_box(standardise(box, self.spec), geometry)
        truth = np.concatenate([target[: self.outputs], unknown[: self.outputs]])
        pair = {"image": torch.from_numpy(square)[None], "truth": torch.from_numpy(truth)}
        if self.enabled:
            pair = (self.wide if wide else self.usual)(pair)
        target_square, unknown_square = pair["truth"].split(self.outputs)
        # Outside the image's border there is neither lung nor field, and this is known.
        known = (unknown_square < MAX_UNKNOWN).float()
        return pair["image"].expand(self.spec.channels, -1, -1).contiguous(), target_square, known

    def reseed(self, seed: int) -> np.random.Generator:
        """Seed all further draws; return a generator for those outside MONAI."""
        # Separate seeds: transforms with one seed draw alike, and every mirrored image would be a dark one.
        exposure, geometry, own = np.random.SeedSequence(seed).generate_state(3)
        self.exposure.set_random_state(int(exposure))
        for affine in (self.usual, self.wide):
            affine.set_random_state(int(geometry))
        return np.random.default_rng(own)


def _affine(spec: InputSpec, degrees: float, least: float, most: float) -> mt.Compose:
    """Return random rotation, shear, shift, scaling and mirroring."""
    return mt.Compose(
        [
            mt.RandAffined(
                KEYS,
                prob=0.9,
                rotate_range=float(np.deg2rad(degrees)),
                shear_range=(0.1, 0.1),
                translate_range=(0.08 * spec.size, 0.08 * spec.size),
                # MONAI scales the grid: 1 + scale_range image pixels become one.
                scale_range=((1 / most - 1, 1 / least - 1),) * 2,
                mode="bilinear",  # for the mask as well: a pixel on an edge is partly lung
                padding_mode="zeros",
            ),
            mt.RandFlipd(KEYS, prob=0.3, spatial_axis=1),
        ]
    )


def _crop(
    box: NDArray[np.float32],
    target: NDArray[np.float32],
    unknown: NDArray[np.float32],
    geometry: Geometry,
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], Geometry]:
    """Crop one border of the image by up to 25 % of its height or 16 % of its width."""
    height, width = box.shape
    side = int(random.integers(4))
    depth = int(random.uniform(0, 0.25 * height if side < 2 else 0.16 * width))
    top, bottom, left, right = (depth if side == each else 0 for each in range(4))
    keep = np.zeros_like(target)
    cut = replace(
        geometry,
        top=geometry.top + top,
        left=geometry.left + left,
        box_height=height - top - bottom,
        box_width=width - left - right,
    )
    keep[:, *cut.box] = 1
    return box[top : height - bottom, left : width - right], target * keep, unknown * keep, cut
