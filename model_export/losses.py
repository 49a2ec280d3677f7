"""BCE plus Dice, weighted."""

from __future__ import annotations

from monai.losses import DiceLoss
from torch import Tensor, nn


class BceDice(nn.Module):
    """``bce_weight * BCE + dice_weight * (1 - soft Dice)``, from logits.

    BCE is the mean over all pixels; the soft Dice of each film is 2 sum(p t) / (sum(p) + sum(t)) and is averaged over
    the batch (Milletari et al. 2016, arXiv:1606.04797, without their squares).

    Shape:
        - logits, target: (N, 1, H, W); target in [0, 1], between them where an edge crosses a pixel
        - output: scalar
    """

    def __init__(self, bce_weight: float = 1.0, dice_weight: float = 1.0) -> None:
        super().__init__()
        self.bce_weight = bce_weight
        self.dice_weight = dice_weight
        self.bce = nn.BCEWithLogitsLoss()
        self.dice = DiceLoss(sigmoid=True)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        # In float32 whatever autocast chose: a sum over 262,144 pixels overflows half precision.
        logits = logits.float()
        return self.bce_weight * self.bce(logits, target) + self.dice_weight * self.dice(logits, target)
