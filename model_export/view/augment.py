"""Batches for the view network: pictures laid into a square at random, with what has been done to them as labels.

An image is first mirrored, then turned counter-clockwise by quarter turns; so to stand it upright again it is turned
back, np.rot90(square, -turns), and mirrored then.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from lungseg.model.preprocess import InputSpec
from model_export.view.pictures import PICTURE_SIDE, FloatImage, Picture, Random, shuffle_blocks

POOL = 4
"""The network first averages squares of so many pixels a side."""

SPOILT_SHARE, MADE_UP_SHARE = 0.3, 0.2
"""Of the pictures that are no frontal images, the shares made from frontal ones and made up; the rest are others'."""

STRIDE = 3
"""The percentiles are taken from every so manieth pixel, as serving does from a larger square."""

BURNT_IN_TEXTS = ("L", "R", "AP", "PA", "LEFT", "12:45", "X7", "SUPINE", "<-", "||")


@dataclass(frozen=True)
class Batch:
    """Squares and what is true of them.

    Attributes:
        squares: (N, 1, side, side) float32, standardised in the picture's box and 0 around it.
        turns: (N,) int64, 0 to 3, counter-clockwise, after mirroring.
        mirrored, inverted, frontal: (N,) float32, 0 or 1. If ``frontal`` is 0 the others mean nothing.
    """

    squares: Tensor
    turns: Tensor
    mirrored: Tensor
    inverted: Tensor
    frontal: Tensor


@dataclass
class Viewport:
    """Which part of a picture is seen, and in what shape.

    Attributes:
        angle: radians.
        extent: (rows, columns) seen, as a part of the picture's; above 1 there is a frame around it.
        shift: (rows, columns) from the picture's middle, in halves of its sides.
        shear: columns a row.
        squash: how much wider it is shown than it is.
    """

    angle: float
    extent: tuple[float, float]
    shift: tuple[float, float]
    shear: float = 0.0
    squash: float = 1.0


class Batches:
    """Draws batches; every draw follows from the seed.

    Args:
        images: frontal chest images.
        others: pictures that are none; each group among them is shown equally often, however few pictures it has.
        made: made-up pictures.
        size: side of the network's input.
    """

    def __init__(self, films: list[Picture], others: list[Picture], made: list[Picture], size: int, seed: int) -> None:
        self.images = films
        self.made = made
        self.groups = [
            [other for other in others if other.group == group] for group in sorted({each.group for each in others})
        ]
        self.side = size // POOL
        self.random = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self._order: list[int] = []

    def draw(self, count: int) -> Batch:
        """``count`` squares, half of them frontal images, of which none comes again before all have come."""
        chosen: list[tuple[FloatImage, Viewport]] = []
        for number in range(count):
            if number < count // 2:
                if not self._order:
                    self._order = self.random.permutation(len(self.images)).tolist()
                chosen.append((self.images[self._order.pop()].box, _draw_image_viewport(self.random)))
            else:
                chosen.append(self._other())
        frontal = torch.arange(count) < count // 2
        squares, boxes = self._lay(chosen)
        squares = self._add_opacities(squares)
        inverted = torch.from_numpy(self.random.random(count) < 0.5)
        squares = torch.where(inverted[:, None, None, None], 1 - squares, squares)
        squares = self._expose(squares)
        squares = _standardise(squares, boxes, InputSpec())
        # What serving averages had more noise when it was brought to deviation 1; a texture may be all noise.
        squares = squares * self._uniform(0.8, 1.02, count)
        texture = torch.from_numpy(self.random.random(count) < 0.3) & ~frontal
        squares = torch.where(texture[:, None, None, None], squares * self._uniform(0.1, 1, count), squares)
        mirrored, turns = self.random.random(count) < 0.5, self.random.integers(0, 4, count)
        squares = orient_squares(squares, mirrored, turns)
        return Batch(
            squares,
            torch.from_numpy(turns),
            torch.from_numpy(mirrored).float(),
            inverted.float(),
            frontal.float(),
        )

    def _other(self) -> tuple[FloatImage, Viewport]:
        """A picture that is no frontal image, or so small or disturbed a part of one that it should not pass for one."""
        random = self.random
        kind = random.random()
        if kind < SPOILT_SHARE:
            return _spoil(self.images[random.integers(len(self.images))].box, random)
        if kind < SPOILT_SHARE + MADE_UP_SHARE or not self.groups:
            group = self.made
        else:
            group = self.groups[random.integers(len(self.groups))]
        return group[random.integers(len(group))].box, _draw_other_viewport(random)

    def _lay(self, chosen: list[tuple[FloatImage, Viewport]]) -> tuple[Tensor, Tensor]:
        """Pictures as looked at, (N, 1, side, side), and where in the square each lies, of the same shape, bool."""
        count = len(chosen)
        canvas = np.zeros((count, 1, PICTURE_SIDE, PICTURE_SIDE), np.float32)
        turn, shift = np.zeros((count, 2, 2), np.float32), np.zeros((count, 2), np.float32)
        halves, limits = np.zeros((count, 2), np.float32), np.zeros((count, 2), np.float32)
        for number, (box, look) in enumerate(chosen):
            height, width = box.shape
            top, left = (PICTURE_SIDE - height) // 2, (PICTURE_SIDE - width) // 2
            canvas[number, 0, top : top + height, left : left + width] = box
            shape = np.array([width, height], np.float32) / PICTURE_SIDE
            # Coordinates are (column, row), as grid_sample takes them.
            seen = shape * look.extent[::-1]
            cosine, sine = np.cos(look.angle), np.sin(look.angle)
            turn[number] = np.array([[cosine, -sine], [sine, cosine]]) @ [[1, look.shear], [0, 1]] @ np.diag(seen)
            shift[number] = shape * look.shift[::-1]
            half = seen * (look.squash, 1)
            halves[number] = np.maximum(half / half.max(), 3 / self.side)
            limits[number] = shape - 1 / PICTURE_SIDE
        steps = (torch.arange(self.side) + 0.5) * 2 / self.side - 1
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        place = torch.stack((columns, rows), -1) / torch.from_numpy(halves)[:, None, None]
        boxes = (place.abs() <= 1).all(-1)[:, None]
        source = torch.einsum("nij,nhwj->nhwi", torch.from_numpy(turn), place) + torch.from_numpy(shift)[:, None, None]
        edge = torch.from_numpy(limits)[:, None, None]
        inside = (source.abs() <= edge).all(-1)[:, None]
        source = torch.maximum(torch.minimum(source, edge), -edge)
        squares = functional.grid_sample(torch.from_numpy(canvas), source, align_corners=False)
        # A frame is mostly black, sometimes white or grey, and sometimes goes on as the picture ends.
        kind, grey = self.random.random((2, count))
        frame = np.select([kind < 0.6, kind < 0.7, kind < 0.85], [0, 1, grey], np.nan)
        fill = torch.from_numpy(frame.astype(np.float32))[:, None, None, None]
        return torch.where(inside | fill.isnan(), squares, fill), boxes

    def _add_opacities(self, squares: Tensor) -> Tensor:
        """Bright clouds, a side filled from below, plates and letters, each on a part of the pictures."""
        count, random = len(squares), self.random
        steps = torch.linspace(-1, 1, self.side)
        rows, columns = steps[:, None], steps[None, :]
        for _ in range(3):
            spot = torch.from_numpy(random.uniform(-0.7, 0.7, (count, 2)).astype(np.float32))[:, :, None, None]
            radii = torch.from_numpy(random.uniform(0.05, 0.35, (count, 2)).astype(np.float32))[:, :, None, None]
            distance = ((rows - spot[:, :1]) / radii[:, :1]) ** 2 + ((columns - spot[:, 1:]) / radii[:, 1:]) ** 2
            cover = torch.sigmoid((1 - distance) * self._uniform(1, 8, count)) * self._sometimes(0.3, 0.3, 0.9, count)
            squares = squares + cover * (self._uniform(0.5, 1, count) - squares).clamp_min(0)
        side = torch.from_numpy(random.choice([-1.0, 1.0], count).astype(np.float32))[:, None, None, None]
        level = self._uniform(-1.1, 0.8, count)
        below = torch.sigmoid((rows - level - 0.3 * side * columns) * self._uniform(8, 40, count))
        beside = torch.sigmoid((side * columns - self._uniform(-0.05, 0.2, count)) * 20)
        cover = below * beside * self._sometimes(0.25, 0.5, 1, count)
        squares = squares + cover * (self._uniform(0.6, 0.95, count) - squares).clamp_min(0)
        for number in np.flatnonzero(random.random(count) < 0.4):
            _write(squares[number, 0].numpy(), random)
        return squares.clamp(0, 1)

    def _expose(self, squares: Tensor) -> Tensor:
        """Gamma, contrast, uneven light, JPEG's blocks, sharpness and noise, each on a part of the pictures."""
        count, side = len(squares), self.side
        steps = torch.linspace(-1, 1, side)
        squares = squares.clamp_min(1e-4) ** torch.exp(self._sometimes(0.7, -0.9, 0.9, count))
        steep = self._sometimes(0.4, 1, 8, count)
        middle = self._uniform(0.3, 0.7, count)
        low, high = torch.sigmoid(-steep * middle), torch.sigmoid(steep * (1 - middle))
        curved = (torch.sigmoid(steep * (squares - middle)) - low) / (high - low).clamp_min(1e-6)
        squares = torch.where(steep > 0, curved, squares)
        squares = squares + self._sometimes(0.3, -0.2, 0.2, count) * steps[:, None]
        squares = squares + self._sometimes(0.3, -0.2, 0.2, count) * steps
        for number in np.flatnonzero(self.random.random(count) < 0.1):
            squares[number, 0] = _through_jpeg(squares[number, 0], int(self.random.integers(15, 80)))
        fine = _blur(squares, self._uniform(0.5, 1.8, count))
        squares = fine + (squares - fine) * (1 + self._sometimes(0.6, -1, 1.5, count))
        # On a coarse grid: a window this wide at every pixel would take longer than all the rest.
        broad = functional.avg_pool2d(functional.avg_pool2d(squares, 8), 3, 1, 1, count_include_pad=False)
        broad = functional.interpolate(broad, size=(side, side), mode="bilinear")
        squares = squares - self._sometimes(0.3, 0, 0.7, count) * broad
        noise = torch.randn(squares.shape, generator=self.noise)
        return squares + noise * self._sometimes(0.4, 0, 0.06, count)

    def _uniform(self, low: float, high: float, count: int) -> Tensor:
        """(count, 1, 1, 1)"""
        return torch.from_numpy(self.random.uniform(low, high, (count, 1, 1, 1)).astype(np.float32))

    def _sometimes(self, share: float, low: float, high: float, count: int) -> Tensor:
        """As `_uniform` for a ``share`` of the batch, 0 for the rest."""
        chosen = torch.from_numpy(self.random.random((count, 1, 1, 1)) < share)
        return self._uniform(low, high, count) * chosen


def orient_squares(squares: Tensor, mirrored: NDArray[np.bool_], turns: NDArray[np.integer]) -> Tensor:
    """Mirror, then turn counter-clockwise: (N, 1, side, side) as the labels say."""
    laid = torch.where(torch.from_numpy(mirrored)[:, None, None, None], squares.flip(3), squares)
    for turn in range(1, 4):
        chosen = torch.from_numpy(turns == turn)
        laid[chosen] = torch.rot90(laid[chosen], turn, (2, 3))
    return laid


def _draw_image_viewport(random: Random) -> Viewport:
    """A whole image, a little turned, cut or squashed; sometimes in a wide frame."""
    extent = random.uniform(0.8, 1.25) if random.random() < 0.85 else random.uniform(1.25, 1.8)
    play = 0.12 if random.random() < 0.8 else 0.25
    tilt = 12 if random.random() < 0.85 else 25
    return Viewport(
        angle=float(np.radians(random.uniform(-tilt, tilt))),
        extent=(extent * random.uniform(0.92, 1.08), extent * random.uniform(0.92, 1.08)),
        shift=(random.uniform(-play, play), random.uniform(-play, play)),
        shear=random.uniform(-0.08, 0.08),
        squash=float(np.exp(random.uniform(-0.25, 0.25))),
    )


def _draw_other_viewport(random: Random) -> Viewport:
    """Any part of a picture, in nearly any shape."""
    extent = random.uniform(0.45, 1.3)
    free = max(0.15, 1 - extent)
    return Viewport(
        angle=float(np.radians(random.uniform(-30, 30))),
        extent=(extent * random.uniform(0.85, 1.15), extent * random.uniform(0.85, 1.15)),
        shift=(random.uniform(-free, free), random.uniform(-free, free)),
        shear=random.uniform(-0.2, 0.2),
        squash=float(np.exp(random.uniform(-0.35, 0.35))),
    )


def _spoil(film: FloatImage, random: Random) -> tuple[FloatImage, Viewport]:
    """An image of which too little is seen, or too much disturbed, to be taken for one: 5 kinds, equally often."""
    kind = random.integers(5)
    look = _draw_image_viewport(random)
    if kind == 0:  # a quarter of the image or less
        extent = random.uniform(0.15, 0.45)
        free = 1 - extent
        look.extent = (extent, extent * random.uniform(0.8, 1.1))
        look.shift = (random.uniform(-free, free), random.uniform(-free, free))
    elif kind == 1:  # one half, stretched or not
        side = random.choice([-1, 1])
        look.extent = (random.uniform(0.8, 1.1), random.uniform(0.38, 0.5))
        look.shift = (random.uniform(-0.1, 0.1), side * random.uniform(0.48, 0.6))
        look.squash = random.uniform(1, 2)
    elif kind == 2:  # squeezed
        look.squash = random.uniform(2.3, 4) ** random.choice([-1, 1])
    elif kind == 3:  # slanted
        look.shear = random.uniform(0.7, 1.5) * random.choice([-1, 1])
    else:
        return shuffle_blocks(film, random), look
    return film, look


def _standardise(squares: Tensor, boxes: Tensor, spec: InputSpec) -> Tensor:
    """Clip each box to its percentiles, bring it to mean 0 and deviation 1 (lungseg.model.preprocess); 0 around."""
    sample = torch.where(boxes, squares, torch.nan)[:, :, ::STRIDE, ::STRIDE].flatten(1)
    levels = torch.tensor([spec.low_percentile, spec.high_percentile]) / 100
    low, high = torch.nanquantile(sample, levels, dim=1)[:, :, None, None, None]
    clipped = squares.clamp(low, high) * boxes
    pixels = boxes.sum((2, 3), keepdim=True)
    mean = clipped.sum((2, 3), keepdim=True) / pixels
    centred = (clipped - mean) * boxes
    deviation = (centred.square().sum((2, 3), keepdim=True) / pixels).sqrt()
    return centred / deviation.clamp_min(1e-3)


def _blur(squares: Tensor, sigma: Tensor) -> Tensor:
    """Each square with a Gaussian of its own."""
    steps = torch.arange(-4.0, 5.0)
    kernel = torch.exp(-steps.square() / (2 * sigma.square()))
    kernel = kernel / kernel.sum(3, keepdim=True)
    channels = squares.transpose(0, 1)
    count = len(squares)
    padded = functional.pad(channels, (4, 4, 4, 4), mode="replicate")
    across = functional.conv2d(padded, kernel, groups=count)
    return functional.conv2d(across, kernel.transpose(2, 3), groups=count).transpose(0, 1)


def _write(square: FloatImage, random: Random) -> None:
    """Burn a few letters or a plate into a picture; they tell nothing of mirroring, for they lie any way."""
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


def _through_jpeg(square: Tensor, quality: int) -> Tensor:
    grey = (square.clamp(0, 1) * 255).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return torch.from_numpy(np.asarray(image, np.float32) / 255)
