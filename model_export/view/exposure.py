"""Change the greys of squares for the view network."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from lungseg.model.preprocess import InputSpec
from model_export.data.arrays import FloatImage
from model_export.view.pictures import Random

STRIDE = 3
"""Percentiles are taken from every STRIDE-th pixel, as serving does from a larger square."""


BURNT_IN_TEXTS = ("L", "R", "AP", "PA", "LEFT", "12:45", "X7", "SUPINE", "<-", "||")


def standardise_squares(squares: Tensor, boxes: Tensor, spec: InputSpec) -> Tensor:
    """Clip each box to its percentiles and standardise it (lungseg.model.preprocess); 0 around it."""
    sample = torch.where(boxes, squares, torch.nan)[:, :, ::STRIDE, ::STRIDE].flatten(1)
    levels = torch.tensor([spec.low_percentile, spec.high_percentile]) / 100
    low, high = torch.nanquantile(sample, levels, dim=1)[:, :, None, None, None]
    clipped = squares.clamp(low, high) * boxes
    pixels = boxes.sum((2, 3), keepdim=True)
    mean = clipped.sum((2, 3), keepdim=True) / pixels
    centred = (clipped - mean) * boxes
    deviation = (centred.square().sum((2, 3), keepdim=True) / pixels).sqrt()
    return centred / deviation.clamp_min(1e-3)


def blur_squares(squares: Tensor, sigma: Tensor) -> Tensor:
    """Blur each square with its own Gaussian."""
    steps = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-steps.square() / (2 * sigma.square()))
    kernel = kernel / kernel.sum(3, keepdim=True)
    channels = squares.transpose(0, 1)
    count = len(squares)
    padded = functional.pad(channels, (4, 4, 4, 4), mode="replicate")
    across = functional.conv2d(padded, kernel, groups=count)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=count).transpose(0, 1)


def burn_in_text(square: FloatImage, random: Random) -> None:
    """Burn letters or a plate into a picture, in any orientation, so that they do not reveal mirroring."""
    side = square.shape[0]
    for _ in range(int(random.integers(1, 4))):
        text = BURNT_IN_TEXTS[random.integers(len(BURNT_IN_TEXTS))]
        size = int(random.integers(6, 15))
        font = ImageFont.load_default(size)
        patch = Image.new("L", (size * len(text), size + 4))
        ImageDraw.Draw(patch).text((1, 0), text, fill=255, font=font)
        if random.random() < 0.15:
            patch.paste(255, (0, 0, *patch.size))
        drawn = np.rot90(np.asarray(patch, np.float32) / 255, int(random.integers(4)))
        if random.random() < 0.5:
            drawn = drawn[:, ::-1]
        height, width = (min(length, side) for length in drawn.shape)
        top, left = random.integers(side - height + 1), random.integers(side - width + 1)
        part = square[top : top + height, left : left + width]
        part += drawn[:height, :width] * (random.choice([0.0, 1.0, 1.0]) - part)


def compress_square(square: Tensor, quality: int) -> Tensor:
    """Return a square with JPEG artefacts."""
    grey = (square.clamp(0, 1) * 255).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return torch.from_numpy(np.asarray(image, np.float32) / 255)
