"""Make up pictures that are not frontal chest X-rays: textures, stripes, pages and CT-like sections."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from model_export.data.arrays import FloatImage
from model_export.view.pictures import PICTURE_SIDE, Picture, Random


def make_up_pictures(count: int, seed: int, lungs: list[NDArray[np.bool_]]) -> list[Picture]:
    """Make up textures, stripes, pages and CT-like sections, some with the outlines of real lungs.

    Args:
        lungs: masks of images, from `read_lung_masks`.
    """
    random = np.random.default_rng(seed)

    def coronal(height: int, width: int, random: Random) -> FloatImage:
        return _coronal(lungs[random.integers(len(lungs))], random)

    kinds = (_texture, _stripes, _page, _shapes, _axial, coronal, coronal, _one_lobe, _axial, coronal, coronal)
    return [Picture(_made(kinds[number % len(kinds)], random), "made") for number in range(count)]


def _made(draw: Callable[[int, int, Random], FloatImage], random: Random) -> FloatImage:
    height, width = PICTURE_SIDE, PICTURE_SIDE
    if random.random() < 0.5:
        width = int(PICTURE_SIDE * random.uniform(0.6, 1))
    if random.random() < 0.5:
        height, width = width, height
    picture = draw(height, width, random)
    low, high = picture.min(), picture.max()
    return ((picture - low) / max(high - low, 1e-6)).astype(np.float32)


def _cloud(height: int, width: int, coarsest: int, random: Random) -> FloatImage:
    """Return smooth noise on several scales, about -1 to 1."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    fade = random.uniform(0.4, 0.9)
    while coarsest <= height:
        noise = random.normal(0, 1, (coarsest, coarsest)).astype(np.float32)
        resized = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        total += weight * np.asarray(resized)
        weight *= fade
        coarsest *= 2
    return total / np.float32(total.std() + 1e-6)


def _grid(height: int, width: int) -> tuple[FloatImage, FloatImage]:
    """Return row and column coordinates from -1 to 1 along the longer side."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    longer = max(height, width) / 2
    return (rows - height / 2) / longer, (columns - width / 2) / longer


def _ellipse(
    rows: FloatImage, columns: FloatImage, centre: tuple[float, float], radii: tuple[float, float], edge: float
) -> FloatImage:
    """Return an ellipse: 1 inside, 0 outside, with an edge of width ``edge``."""
    distance = np.hypot((rows - centre[0]) / radii[0], (columns - centre[1]) / radii[1])
    return np.clip((1 - distance) / edge + 0.5, 0, 1)


def _texture(height: int, width: int, random: Random) -> FloatImage:
    return _cloud(height, width, int(random.integers(2, 33)), random)


def _stripes(height: int, width: int, random: Random) -> FloatImage:
    rows, columns = _grid(height, width)
    angle = random.uniform(0, np.pi)
    wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * random.uniform(0.5, 40) + random.uniform(0, 6))
    return wave + random.uniform(0, 0.6) * _cloud(height, width, 4, random)


def _page(height: int, width: int, random: Random) -> FloatImage:
    """Draw lines of dark words on white."""
    page = np.ones((height, width), np.float32)
    line = int(random.integers(4, 12))
    for top in range(int(height * 0.06), int(height * 0.94) - line, line + int(random.integers(2, 6))):
        words = random.random(width // 4 + 1).repeat(4)[:width] < 0.75
        words[: width // 12] = words[-width // 12 :] = False
        page[top : top + line // 2, words] = random.uniform(0, 0.4)
    return page + np.float32(0.02) * _cloud(height, width, 4, random)


def _shapes(height: int, width: int, random: Random) -> FloatImage:
    """Draw overlapping grey ellipses: hands, heads, pots, anything."""
    rows, columns = _grid(height, width)
    picture = random.uniform(0, 1) + np.float32(random.uniform(0, 0.3)) * rows
    for _ in range(int(random.integers(1, 9))):
        centre = (random.uniform(-0.8, 0.8), random.uniform(-0.8, 0.8))
        radii = (random.uniform(0.05, 0.9), random.uniform(0.05, 0.9))
        cover = _ellipse(rows, columns, centre, radii, random.uniform(0.02, 0.4))
        picture = picture + cover * (random.uniform(0, 1) - picture)
    return picture + random.uniform(0, 0.15) * _cloud(height, width, 8, random)


def _axial(height: int, width: int, random: Random) -> FloatImage:
    """Draw an axial section: a body wider than high, two dark lobes, a spine between and below them."""
    return _section(height, width, random, body=(random.uniform(0.45, 0.68), 0.9), lobe=(0.36, 0.32), spine=(0.33, 0.1))


def _coronal(lungs: NDArray[np.bool_], random: Random) -> FloatImage:
    """Draw a coronal section: real lung outlines, flat black with bright vessels and without ribs."""
    if random.random() < 0.5:
        lungs = _behind_heart(lungs, random)
    height, width = lungs.shape
    rows, columns = _grid(height, width)
    flesh, air = random.uniform(0.5, 0.95), random.uniform(0, 0.3)
    if random.random() < 0.4:
        # Soft tissue may fill the whole image, as it does below the diaphragm.
        body = np.ones(lungs.shape, np.float32)
    else:
        middle = np.flatnonzero(lungs.any(0))
        half = (middle[-1] - middle[0]) / max(height, width) * random.uniform(1.05, 1.4)
        body = _ellipse(rows, columns, (random.uniform(0, 0.5), 0), (random.uniform(1.5, 2.5), half), 0.03)
    picture = random.choice([0.0, air]) * np.ones(lungs.shape, np.float32)
    organs = random.uniform(0, 0.12) * np.clip(_cloud(height, width, 4, random), -1, 1)
    picture += body * (np.clip(flesh + organs, 0, 1) - picture)
    spots = np.clip(_cloud(height, width, int(random.integers(12, 40)), random) - random.uniform(1, 2.2), 0, 1)
    haze = random.uniform(0, 0.5) * np.clip(_cloud(height, width, 4, random) - random.uniform(0, 1), 0, 1)
    soft = np.asarray(
        Image.fromarray(lungs.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.2)))
    ).astype(np.float32)
    dark = air + (flesh - air) * np.clip(spots + haze, 0, 1)
    picture += soft / 255 * (dark - picture)
    if random.random() < 0.7:
        _cut_ribs(picture, lungs, random)
    return picture + np.float32(random.uniform(0, 0.05)) * random.normal(0, 1, picture.shape).astype(np.float32)


def _behind_heart(lungs: NDArray[np.bool_], random: Random) -> NDArray[np.bool_]:
    """Return lungs as in a section behind the heart: the patient's right lung twice, a spine apart."""
    columns = np.flatnonzero(lungs.any(0))
    right = lungs[:, : (columns[0] + columns[-1]) // 2]
    used = np.flatnonzero(right.any(0))
    if not used.size:
        return lungs
    right = np.pad(right[:, : used[-1] + 1], ((0, 0), (0, int(random.integers(4, 16)))))
    both = np.hstack((right, right[:, ::-1]))
    spare = max(0, both.shape[1] - PICTURE_SIDE) // 2
    return both[:, spare : spare + PICTURE_SIDE]


def _cut_ribs(picture: FloatImage, lungs: NDArray[np.bool_], random: Random) -> None:
    """Draw cut ribs: bright dots beside the lungs, one above the other."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    step, radius = random.uniform(10, 18), random.uniform(2, 4.5)
    for row in np.arange(random.uniform(0, step), picture.shape[0], step):
        across = np.flatnonzero(lungs[int(row)])
        if across.size:
            for column in (across[0] - 1.6 * radius, across[-1] + 1.6 * radius):
                inside = np.hypot(rows - row, (columns - column) * random.uniform(0.6, 1.4)) < radius
                picture[inside] = random.uniform(0.85, 1)


def _section(
    height: int,
    width: int,
    random: Random,
    body: tuple[float, float],
    lobe: tuple[float, float],
    spine: tuple[float, float],
) -> FloatImage:
    """Draw a CT-like section with flat greys and sharp edges. Radii are (rows, columns)."""
    rows, columns = _grid(height, width)
    rows, columns = rows - random.uniform(-0.08, 0.08), columns - random.uniform(-0.08, 0.08)
    size = random.uniform(0.6, 1.05)
    flesh, air = random.uniform(0.5, 0.95), random.uniform(0, 0.3)
    picture = np.full((height, width), random.choice([0.0, air, random.uniform(0, 0.3)]), np.float32)
    cover = _ellipse(rows, columns, (0, 0), (size * body[0], size * body[1]), 0.03)
    picture += cover * (flesh - picture)
    vessels = np.clip(_cloud(height, width, int(random.integers(8, 24)), random) - random.uniform(1, 2), 0, 1)
    haze = random.uniform(0, 0.4) * np.clip(_cloud(height, width, 4, random), 0, 1)
    for side in (-1, 1):
        radii = (size * lobe[0] * random.uniform(0.8, 1.1), size * lobe[1] * random.uniform(0.85, 1.1))
        centre = (random.uniform(-0.05, 0.05), side * size * (lobe[1] + random.uniform(0.06, 0.16)))
        dark = air + (flesh - air) * np.clip(vessels + haze, 0, 1)
        picture += _ellipse(rows, columns, centre, radii, 0.05) * (dark - picture)
    if spine[1]:
        bone = _ellipse(rows, columns, (size * spine[0], 0), (size * 0.14, size * spine[1]), 0.1)
        picture += bone * (1 - picture)
    return picture + np.float32(random.uniform(0, 0.05)) * random.normal(0, 1, picture.shape).astype(np.float32)


def _one_lobe(height: int, width: int, random: Random) -> FloatImage:
    """Draw a lateral view: one dark lobe before a spine, the shoulder above it, the diaphragm below."""
    rows, columns = _grid(height, width)
    side = random.choice([-1, 1])
    tilted = columns * side + random.uniform(-0.15, 0.15) * rows
    picture = _ellipse(rows, tilted, (0, 0), (1.5, random.uniform(0.5, 0.75)), random.uniform(0.1, 0.5)) * 0.7
    centre = (random.uniform(-0.2, 0.1), random.uniform(-0.1, 0.1))
    radii = (random.uniform(0.5, 0.75), random.uniform(0.3, 0.5))
    lobe = _ellipse(rows, tilted, centre, radii, random.uniform(0.1, 0.5))
    picture = picture - lobe * random.uniform(0.3, 0.6)
    heart = _ellipse(rows, tilted, (0.3, -0.2), (0.25, 0.3), 0.5)
    below = np.clip((rows - random.uniform(0.3, 0.6) - 0.3 * tilted) / 0.1, 0, 1)
    vertebrae = np.clip(np.sin(rows * random.uniform(20, 40)), 0, 1) * np.clip(1 - np.abs(tilted - 0.4) / 0.12, 0, 1)
    picture = picture + 0.4 * np.maximum(heart, below) + 0.25 * vertebrae
    return picture + random.uniform(0, 0.08) * _cloud(height, width, 8, random)
