"""Batches for the view network: randomly oriented and modified pictures, labelled with their orientation.

An image is first mirrored, then rotated counter-clockwise by quarter turns. To undo this, rotate it back,
np.rot90(square, -turns), then mirror it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lungseg.model.preprocess import InputSpec
from model_export.data.arrays import FloatImage
from model_export.view.exposure import blur_squares, burn_in_text, compress_square, standardise_squares
from model_export.view.pictures import PICTURE_SIDE, Picture
from model_export.view.viewports import Viewport, draw_image_viewport, draw_other_viewport, spoil_image

POOL = 4
"""Side of the blocks that the network averages first, in pixels."""

SPOILT_SHARE, MADE_UP_SHARE = 0.3, 0.2
"""Shares of spoilt frontal images and of made-up pictures among the non-frontal pictures; the rest is from --others."""


@dataclass(frozen=True)
class Batch:
    """Squares and their labels.

    Attributes:
        squares: (N, 1, side, side) float32, standardised inside the picture's box and 0 around it.
        turns: (N,) int64, 0 to 3, counter-clockwise, after mirroring.
        mirrored, inverted, frontal: (N,) float32, 0 or 1. If ``frontal`` is 0, the others have no meaning.
    """

    squares: Tensor
    turns: Tensor
    mirrored: Tensor
    inverted: Tensor
    frontal: Tensor


class Batches:
    """A source of batches; all draws follow from the seed.

    Args:
        images: frontal chest X-rays.
        others: other pictures; each group is drawn equally often, however few pictures it has.
        made: made-up pictures.
        size: side of the network's input.
    """

    def __init__(self, images: list[Picture], others: list[Picture], made: list[Picture], size: int, seed: int) -> None:
        self.images = images
        self.made = made
        self.groups = [
            [other for other in others if other.group == group] for group in sorted({each.group for each in others})
        ]
        self.side = size // POOL
        self.random = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self._order: list[int] = []

    def draw(self, count: int) -> Batch:
        """Draw ``count`` squares, half of them frontal images, which are drawn without replacement."""
        chosen: list[tuple[FloatImage, Viewport]] = []
        for number in range(count):
            if number < count // 2:
                if not self._order:
                    self._order = self.random.permutation(len(self.images)).tolist()
                chosen.append((self.images[self._order.pop()].box, draw_image_viewport(self.random)))
            else:
                chosen.append(self._other())
        frontal = torch.arange(count) < count // 2
        squares, boxes = self._lay(chosen)
        squares = self._add_opacities(squares)
        inverted = torch.from_numpy(self.random.random(count) < 0.5)
        squares = torch.where(inverted[:, None, None, None], 1 - squares, squares)
        squares = self._expose(squares)
        squares = standardise_squares(squares, boxes, InputSpec())
        # Serving standardises before averaging, when the noise is stronger; a texture may be all noise.
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
        """Draw a picture that is not frontal, or a spoilt frontal image that should be rejected."""
        random = self.random
        kind = random.random()
        if kind < SPOILT_SHARE:
            return spoil_image(self.images[random.integers(len(self.images))].box, random)
        if kind < SPOILT_SHARE + MADE_UP_SHARE or not self.groups:
            group = self.made
        else:
            group = self.groups[random.integers(len(self.groups))]
        return group[random.integers(len(group))].box, draw_other_viewport(random)

    def _lay(self, chosen: list[tuple[FloatImage, Viewport]]) -> tuple[Tensor, Tensor]:
        """Return pictures seen through their viewports, (N, 1, side, side), and masks of their boxes."""
        count = len(chosen)
        canvas = np.zeros((count, 1, PICTURE_SIDE, PICTURE_SIDE), np.float32)
        turn, shift = np.zeros((count, 2, 2), np.float32), np.zeros((count, 2), np.float32)
        halves, limits = np.zeros((count, 2), np.float32), np.zeros((count, 2), np.float32)
        for number, (box, look) in enumerate(chosen):
            height, width = box.shape
            top, left = (PICTURE_SIDE - height) // 2, (PICTURE_SIDE - width) // 2
            canvas[number, 0, top : top + height, left : left + width] = box
            shape = np.array([width, height], np.float32) / PICTURE_SIDE
            # Coordinates are (column, row), as in grid_sample.
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
        # A frame is mostly black, sometimes white or grey, and sometimes repeats the picture's edge.
        kind, grey = self.random.random((2, count))
        frame = np.select([kind < 0.6, kind < 0.7, kind < 0.85], [0, 1, grey], np.nan)
        fill = torch.from_numpy(frame.astype(np.float32))[:, None, None, None]
        return torch.where(inside | fill.isnan(), squares, fill), boxes

    def _add_opacities(self, squares: Tensor) -> Tensor:
        """Add bright clouds, an opacity from below, plates and letters, each to a share of the pictures."""
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
            burn_in_text(squares[number, 0].numpy(), random)
        return squares.clamp(0, 1)

    def _expose(self, squares: Tensor) -> Tensor:
        """Change gamma, contrast, light, JPEG artefacts, sharpness and noise, each in a share of the pictures."""
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
            squares[number, 0] = compress_square(squares[number, 0], int(self.random.integers(15, 80)))
        fine = blur_squares(squares, self._uniform(0.5, 1.8, count))
        squares = fine + (squares - fine) * (1 + self._sometimes(0.6, -1, 1.5, count))
        # On a coarse grid: at full resolution this window would take longer than all the rest.
        broad = functional.avg_pool2d(functional.avg_pool2d(squares, 8), 3, 1, 1, count_include_pad=False)
        broad = functional.interpolate(broad, size=(side, side), mode="bilinear")
        squares = squares - self._sometimes(0.3, 0, 0.7, count) * broad
        noise = torch.randn(squares.shape, generator=self.noise)
        return squares + noise * self._sometimes(0.4, 0, 0.06, count)

    def _uniform(self, low: float, high: float, count: int) -> Tensor:
        """Draw uniform values, (count, 1, 1, 1)."""
        return torch.from_numpy(self.random.uniform(low, high, (count, 1, 1, 1)).astype(np.float32))

    def _sometimes(self, share: float, low: float, high: float, count: int) -> Tensor:
        """Draw as `_uniform` for a ``share`` of the batch, 0 for the rest."""
        chosen = torch.from_numpy(self.random.random((count, 1, 1, 1)) < share)
        return self._uniform(low, high, count) * chosen


def orient_squares(squares: Tensor, mirrored: NDArray[np.bool_], turns: NDArray[np.integer]) -> Tensor:
    """Mirror squares (N, 1, side, side), then rotate them counter-clockwise, as labelled."""
    laid = torch.where(torch.from_numpy(mirrored)[:, None, None, None], squares.flip(3), squares)
    for turn in range(1, 4):
        chosen = torch.from_numpy(turns == turn)
        laid[chosen] = torch.rot90(laid[chosen], turn, (2, 3))
    return laid
