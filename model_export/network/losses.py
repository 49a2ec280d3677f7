"""BCE plus Dice over the known pixels of each output, with lung kept inside the field."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class KnownBceDice(nn.Module):
    """``bce_weight * BCE + dice_weight * (1 - soft Dice)`` of each output where its target is known, from logits.

    BCE is the mean over an image's known pixels; soft Dice is 2 sum(p t) / (sum(p) + sum(t)) over them (Milletari et
    al. 2016, arXiv:1606.04797, without their squares). Both are averaged over the batch. The outputs are summed, lung
    with weight 1 and field with ``field_weight``. Two terms tie them together: ``inside_weight`` times the mean of the
    lung's probability above the field's, because lung lies inside the field; and for images with a known field
    ``outside_weight`` times the mean share of the lung's probability outside it, as in `data.truth.score_field`.

    Shape:
        - logits, target, known: (N, outputs, H, W); target in [0, 1], fractional where an edge crosses a pixel; known
          0 or 1
        - output: scalar
    """

    def __init__(
        self,
        bce_weight: float = 1.0,
        dice_weight: float = 1.0,
        field_weight: float = 0.5,
        inside_weight: float = 0.5,
        outside_weight: float = 3.0,
    ) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.inside_weight = inside_weight
        self.outside_weight = outside_weight
        self.register_buffer("output_weights", torch.tensor([1.0, field_weight]), persistent=False)

    def forward(self, logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
        # In float32 whatever autocast chose: a sum over 262,144 pixels overflows half precision.
        logits = logits.float()
        probability = logits.sigmoid()
        pixels = known.sum((2, 3)).clamp(min=1)
        bce = (functional.binary_cross_entropy_with_logits(logits, target, reduction="none") * known).sum(
            (2, 3)
        ) / pixels
        overlap = 2 * (probability * target * known).sum((2, 3)) + SMOOTH
        dice = overlap / (((probability + target) * known).sum((2, 3)) + SMOOTH)
        each = (self.bce_weight * bce + self.dice_weight * (1 - dice)).mean(0)
        weights = self.get_buffer("output_weights")[: logits.shape[1]]
        loss = (weights * each).sum()
        if logits.shape[1] > 1 and self.inside_weight:
            loss = loss + self.inside_weight * functional.relu(probability[:, 0] - probability[:, 1]).mean()
        if logits.shape[1] > 1 and self.outside_weight:
            lung, beyond = probability[:, 0], (1 - target[:, 1]) * known[:, 0] * known[:, 1]
            share = (lung * beyond).sum((1, 2)) / (lung.sum((1, 2)) + SMOOTH)
            loss = loss + self.outside_weight * share.mean()
        return loss


SMOOTH = 1e-5
"""Keeps the Dice of an image without lung defined; otherwise negligible."""
