"""The view network, its loss and its scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from model_export.view.batches import POOL, Batch, orient_squares

LEVEL_CHANNELS = (16, 24, 48, 64, 64)
"""Channels of the levels, each on half the previous grid."""

HIDDEN_UNITS = 48

FRONTAL_WEIGHT = 2.0
"""Weight of the frontal loss; the three pose losses have 1 each. A wrong verdict costs more than a wrong pose."""


class ViewCnn(nn.Module):
    """One network predicts rotation, inversion and frontal view; a second one, on the upright image, mirroring.

    The second is applied to the image and its mirror image, and their difference is used, so it cannot prefer a side.
    What it learns from one orientation holds for all.

    Shape:
        - input: (N, 1, side, side) float32, a standardised square whose blocks of POOL x POOL have been averaged
        - output: (N, 7) logits: four for the quarter turns, then mirrored, inverted and frontal
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.pose = _cnn(side, 6)
        self.heart = _cnn(side, 1)

    def forward(self, squares: Tensor) -> Tensor:
        pose = self.pose(squares)
        upright = _upright(squares, pose.detach())
        mirrored = self.heart(upright) - self.heart(upright.flip(3))
        return torch.cat((pose[:, :4], mirrored, pose[:, 4:]), 1)


def _cnn(side: int, answers: int) -> nn.Sequential:
    """Return a network that halves the grid five times, then sees all positions together: positions matter."""
    levels: list[nn.Module] = []
    before = 1
    for width in LEVEL_CHANNELS:
        levels.append(_convolution(before, width, stride=2))
        if width >= 48:  # on the fine levels a second convolution would dominate the time
            levels.append(_convolution(width, width, stride=1))
        before = width
        side = -(-side // 2)
    return nn.Sequential(
        *levels,
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(before * side * side, HIDDEN_UNITS),
        nn.ReLU(inplace=True),
        nn.Linear(HIDDEN_UNITS, answers),
    )


def _upright(squares: Tensor, pose: Tensor) -> Tensor:
    """Return squares upright and with bright bone, weighted by the probabilities of ``pose`` (N, 6), logits."""
    turns = torch.softmax(pose[:, :4], 1)[:, :, None, None, None]
    upright = torch.stack([turns[:, turn] * torch.rot90(squares, -turn, (2, 3)) for turn in range(4)]).sum(0)
    return upright * (1 - 2 * torch.sigmoid(pose[:, 4]))[:, None, None, None]


class ServedView(nn.Module):
    """Map the segmentation network's input, (1, 1, size, size), to seven probabilities, (1, 7)."""

    def __init__(self, network: ViewCnn) -> None:
        super().__init__()
        self.network = network

    def forward(self, square: Tensor) -> Tensor:
        return to_probabilities(self.network(functional.avg_pool2d(square, POOL)))


def to_probabilities(logits: Tensor) -> Tensor:
    """Return probabilities (N, 7): the four turns sum to 1, the others are independent."""
    return torch.cat((torch.softmax(logits[:, :4], 1), torch.sigmoid(logits[:, 4:])), 1)


def view_loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the sum of the cross-entropies, those of the pose over frontal images only; a scalar."""
    frontal = batch.frontal > 0
    turns = functional.cross_entropy(logits[frontal, :4], batch.turns[frontal])
    mirrored = functional.binary_cross_entropy_with_logits(logits[frontal, 4], batch.mirrored[frontal])
    inverted = functional.binary_cross_entropy_with_logits(logits[frontal, 5], batch.inverted[frontal])
    is_frontal = functional.binary_cross_entropy_with_logits(logits[:, 6], batch.frontal)
    return turns + mirrored + inverted + FRONTAL_WEIGHT * is_frontal


@torch.inference_mode()
def measure_view(network: ViewCnn, images: Tensor, others: dict[str, Tensor]) -> dict[str, Any]:
    """Score a network on upright images in all 16 orientations and on other pictures.

    Args:
        images: (N, 1, side, side), upright and neither mirrored nor inverted.
        others: the same for each group of other pictures.
    """
    turns_right, inverted_right = [], []
    frontal: list[NDArray[np.float32]] = []
    mirrored: dict[bool, list[NDArray[np.float32]]] = {False: [], True: []}
    for flip in (False, True):
        for turn in range(4):
            laid = orient_squares(images, np.full(len(images), flip), np.full(len(images), turn))
            for inverted in (False, True):
                found = to_probabilities(network(-laid if inverted else laid)).numpy()
                turns_right.append(found[:, :4].argmax(1) == turn)
                mirrored[flip].append(found[:, 4])
                inverted_right.append((found[:, 5] > 0.5) == inverted)
                frontal.append(found[:, 6])
    plain, flipped = np.concatenate(mirrored[False]), np.concatenate(mirrored[True])
    above = flipped[:, None] - plain[None, :]
    least, low, few, middle = np.percentile(np.concatenate(frontal), (0, 1, 5, 50))
    negative = {name: to_probabilities(network(squares))[:, 6].numpy() for name, squares in others.items()}
    return {
        "views": sum(map(len, frontal)),
        "turns_right": _rounded(np.concatenate(turns_right).mean()),
        "inverted_right": _rounded(np.concatenate(inverted_right).mean()),
        "mirrored_auc": _rounded((above > 0).mean() + (above == 0).mean() / 2),
        "mirrored_highest_of_unmirrored": _rounded(plain.max()),
        "mirrored_recall_without_false_alarm": _rounded((flipped > plain.max()).mean()),
        "frontal_percentiles_0_1_5_50": [_rounded(value) for value in (least, low, few, middle)],
        "others_taken_for_frontal": {
            name: f"{int((values > 0.5).sum())} of {len(values)}, highest {values.max():.3f}"
            for name, values in negative.items()
        },
    }


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )
