"""Draw sick lungs, soft tissue and devices over training images; the masks stay unchanged.

Each function takes an image (height, width) float32 in [0, 1], bone bright, the lungs or the field (height, width)
bool, and a generator, and returns a modified copy. White absorbs: opacities never darken, gas never brightens. The
public sets have few such images, and networks trained on them alone failed on these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from model_export.data.arrays import FloatImage, MaskArray

FloatArray = NDArray[np.floating[Any]]
ImageChange = Callable[[FloatImage, MaskArray, np.random.Generator], FloatImage]


def add_white_lung(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Whiten half a lung or more along a soft half-plane, sometimes in both lungs.

    ARDS, atelectasis and large effusions hide the edge between the lung and its surroundings.
    """
    for left in _sides(random, both=0.25):
        box = _lung_box(mask, left)
        if box is None:
            continue
        top, bottom, first, last = box
        rows, columns = _grid(image)
        angle = random.uniform(-0.6, 0.6)
        towards = np.cos(angle) * (rows - top) / max(1, bottom - top) + np.sin(angle) * (
            (columns - first) / max(1, last - first) - 0.5
        )
        if random.random() < 0.15:
            towards = 1 - towards  # from the apex
        start, edge = random.uniform(-0.2, 0.5), random.uniform(0.03, 0.25)
        beside = np.minimum(columns - first, last - columns) / (0.1 * (last - first + 1))
        cover = random.uniform(0.5, 1.0) * _step((towards - start) / edge) * _step(2 * beside + 1)
        image = _whiten(image, cover, random.uniform(0.65, 0.95))
    return image


def add_effusion(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Fill one lung from its base to 10 to 50 % of its height, rising towards the chest wall.

    The opacity continues below and beside the lung, like a real effusion's, so that no edge marks the end of the lung.
    """
    left = bool(random.integers(2))
    box = _lung_box(mask, left)
    if box is None:
        return image
    top, bottom, first, last = box
    height, width = bottom - top + 1, last - first + 1
    rows, columns = _grid(image)
    rightwards = np.clip((columns - first) / width, 0, 1)
    rise = (1 - rightwards if left else rightwards) ** random.uniform(1.5, 4) * random.uniform(0, 0.3)
    level = bottom - height * (random.uniform(0.1, 0.5) + rise)
    beside = np.minimum(columns - first, last - columns) / (0.04 * width)
    cover = random.uniform(0.6, 1.0) * _step((rows - level) / (height * random.uniform(0.01, 0.06))) * _step(beside + 2)
    return _whiten(image, cover, random.uniform(0.7, 0.95))


def add_opacities(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Draw one to four bright, soft-edged ellipses over the lungs: masses and consolidations. They stay lung."""
    rows, columns = _grid(image)
    inside = np.argwhere(mask)
    for _ in range(random.integers(1, 5)):
        row, column = inside[random.integers(len(inside))]
        long, short = random.uniform(0.03, 0.2, 2) * max(image.shape)
        angle = random.uniform(0, np.pi)
        along = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle)
        across = (rows - row) * np.cos(angle) - (columns - column) * np.sin(angle)
        distance = np.hypot(along / long, across / short)
        cover = random.uniform(0.4, 1.0) * _step((1 - distance) / random.uniform(0.03, 0.3))
        image = _whiten(image, cover, random.uniform(0.6, 0.98))
    return image


def add_pneumothorax(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Darken a crescent along one lung's outer and upper wall, inside the mask: gas without lung texture."""
    left = bool(random.integers(2))
    box = _lung_box(mask, left)
    if box is None:
        return image
    top, bottom, first, last = box
    rows, columns = _grid(image)
    centre = (last - (last - first) * random.uniform(0.35, 0.5), first + (last - first) * random.uniform(0.35, 0.5))
    radii = random.uniform(0.55, 0.8) * (last - first), random.uniform(0.5, 0.7) * (bottom - top)
    column = centre[0] if left else centre[1]
    distance = np.hypot((columns - column) / radii[0], (rows - top - 0.6 * (bottom - top)) / radii[1])
    cover = random.uniform(0.4, 0.9) * _step((distance - 1) / 0.05) * mask
    dark = float(np.quantile(image[::8, ::8], random.uniform(0.02, 0.2)))
    return (image - cover * np.maximum(image - dark, 0)).astype(np.float32)


def add_soft_tissue(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Brighten a wide, faint shape with one clear edge across a lung: the shadow of a breast or a scapula."""
    box = _lung_box(mask, bool(random.integers(2)))
    if box is None:
        return image
    top, bottom, first, last = box
    rows, columns = _grid(image)
    row = top + (bottom - top) * random.uniform(0.1, 1.1)
    column = first + (last - first) * random.uniform(-0.3, 1.3)
    distance = np.hypot(
        (columns - column) / (random.uniform(0.4, 0.9) * (last - first + 1)),
        (rows - row) / (random.uniform(0.2, 0.5) * (bottom - top + 1)),
    )
    cover = random.uniform(0.15, 0.5) * _step((1 - distance) / random.uniform(0.02, 0.15))
    return _whiten(image, cover, random.uniform(0.6, 0.9))


def add_devices(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Draw thin, bright lines, tubes, electrodes and sometimes a pacemaker, over the lungs and beside them."""
    height, width = image.shape
    size = max(image.shape)
    layer = Image.new("L", (width, height))
    draw = ImageDraw.Draw(layer)
    inside = np.argwhere(mask)

    def somewhere() -> tuple[float, float]:
        row, column = inside[random.integers(len(inside))]
        return float(column), float(row)

    for _ in range(random.integers(1, 5)):
        start, end = somewhere(), (random.uniform(0, width), random.uniform(0, height))
        bend = random.uniform(-0.25, 0.25, 2) * size
        steps = np.linspace(0, 1, 16)[:, None]
        middle = (np.array(start) + end) / 2 + bend
        curve = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * middle + steps**2 * np.array(end)
        shade = int(random.uniform(90, 230))
        draw.line([tuple(point) for point in curve], shade, int(random.integers(1, max(2, size // 100))))
        if random.random() < 0.5:
            radius = random.uniform(0.008, 0.02) * size
            draw.ellipse([start[0] - radius, start[1] - radius, start[0] + radius, start[1] + radius], shade)
    if random.random() < 0.2:
        column, row = somewhere()
        half = random.uniform(0.03, 0.06) * size
        box = [column - half, row - half, column + half, row + half * random.uniform(0.7, 1.2)]
        draw.rounded_rectangle(box, half / 2, int(random.uniform(180, 255)))
    cover = np.asarray(layer, np.float32) / 255
    return _whiten(image, cover, random.uniform(0.9, 1.0))


def add_collimation(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Blacken or whiten strips at one to three borders, at most up to the lungs."""
    image = image.copy()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = image.shape
    room = {"top": rows[0], "bottom": height - 1 - rows[-1], "left": columns[0], "right": width - 1 - columns[-1]}
    shade = image.max() if random.random() < 0.2 else image.min()
    for side in random.permutation(list(room))[: random.integers(1, 4)]:
        depth = int(random.uniform(0.2, 1.0) * room[side])
        if depth:
            strip = {
                "top": image[:depth],
                "bottom": image[height - depth :],
                "left": image[:, :depth],
                "right": image[:, width - depth :],
            }[side]
            strip[:] = shade
    return image


SICKNESS_CHANGES: tuple[tuple[float, ImageChange], ...] = (
    (0.25, add_white_lung),
    (0.35, add_opacities),
    (0.15, add_effusion),
    (0.06, add_pneumothorax),
    (0.20, add_soft_tissue),
    (0.15, add_devices),
    (0.10, add_collimation),
)
"""The share of images for each change, in drawing order."""


def make_sick(image: FloatImage, mask: MaskArray, random: np.random.Generator) -> FloatImage:
    """Apply each of SICKNESS_CHANGES to its share of images."""
    if mask.any():
        for share, change in SICKNESS_CHANGES:
            if random.random() < share:
                image = change(image, mask, random)
    return image


def _sides(random: np.random.Generator, both: float) -> list[bool]:
    side = bool(random.integers(2))
    return [True, False] if random.random() < both else [side]


def _lung_box(mask: MaskArray, left: bool) -> tuple[int, int, int, int] | None:
    """Return the first and last row and column of one half of a mask; None if that half is empty."""
    columns = np.flatnonzero(mask.any(0))
    middle = (columns[0] + columns[-1]) // 2
    side = mask[:, :middle] if left else mask[:, middle:]
    if not side.any():
        return None
    rows, across = np.flatnonzero(side.any(1)), np.flatnonzero(side.any(0))
    offset = 0 if left else middle
    return int(rows[0]), int(rows[-1]), int(offset + across[0]), int(offset + across[-1])


def _grid(image: FloatImage) -> tuple[FloatImage, FloatImage]:
    """Return row and column numbers that broadcast over an image."""
    height, width = image.shape
    return np.arange(height, dtype=np.float32)[:, np.newaxis], np.arange(width, dtype=np.float32)


def _step(value: FloatArray) -> FloatImage:
    """Return the logistic function of ``value``: a soft step from 0 to 1 at 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(value, -30, 30))), np.float32)


def _whiten(image: FloatImage, cover: FloatArray, quantile: float) -> FloatImage:
    """Blend an image towards one of its own bright greys by ``cover`` (0 to 1); never darken it."""
    white = float(np.quantile(image[::8, ::8], quantile))
    return (image + cover * np.maximum(white - image, 0)).astype(np.float32)
