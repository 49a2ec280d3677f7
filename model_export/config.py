"""The settings of a training run, each a flag of `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _setting(default: Any, meaning: str, choices: tuple[Any, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": meaning, "choices": choices})


@dataclass(frozen=True)
class Config:
    """Every setting of a run."""

    # network
    in_channels: int = _setting(1, "channels of the input; the original network takes 3", (1, 3))
    outputs: tuple[str, ...] = _setting(
        ("lung", "field"),
        "what the network predicts: lung, or lung and field (both lungs and the heart's shadow between them)",
    )
    base: int = _setting(16, "channels of the first level; 64 in the original network")
    depth: int = _setting(4, "how often the grid is halved; 3 to 5")
    max_channels: int = _setting(192, "channels of a level at most; 1024 in the original network")
    stem: int = _setting(4, "pixels a side folded into channels before the first level", (1, 2, 4))
    decoder: str = _setting(
        "add",
        "how the decoder takes up a level of the encoder: concat convolves both side by side, add sums them first, at "
        "a sixth of the cost",
        ("add", "concat"),
    )
    upsample: str = _setting("bilinear", "how the decoder doubles its grid", ("bilinear", "transpose"))
    head: str = _setting(
        "shuffle",
        "how a coarse stem's logits get to full size: shuffle draws each pixel's on the coarse grid, refine convolves "
        "at full size",
        ("shuffle", "refine"),
    )
    convolution: str = _setting(
        "normal",
        "3x3 convolutions of the levels: normal, or separable into one 3x3 filter a channel and a 1x1 mixture",
        ("normal", "separable"),
    )
    # loss
    bce_weight: float = _setting(1.0, "weight of binary cross-entropy")
    dice_weight: float = _setting(1.0, "weight of 1 - Dice")
    field_weight: float = _setting(0.5, "weight of the field's loss; the lung's has 1")
    inside_weight: float = _setting(0.5, "weight of lung predicted outside the predicted field")
    outside_weight: float = _setting(3.0, "weight of the share of the lung that lies outside the known field")
    # optimiser
    optimiser: str = _setting("adamw", "optimiser; sgd has a momentum of 0.9", ("adam", "adamw", "sgd"))
    learning_rate: float = _setting(2e-3, "peak of the one-cycle schedule, or the constant rate")
    schedule: str = _setting(
        "onecycle", "how the learning rate goes: up and down once in the run, or nowhere", ("onecycle", "constant")
    )
    weight_decay: float = _setting(1e-2, "for adamw")
    epochs: int = _setting(60, "epochs")
    epoch_images: int = _setting(0, "images drawn in an epoch; 0 is as many as there are")
    batch: int = _setting(8, "images a step, in all processes together")
    ema: float = _setting(0.995, "share kept of the running average of weights, which is what is validated; 0 is off")
    # data
    sources: tuple[str, ...] = _setting((), "sets to train and validate on; none named is all of them")
    balance: float = _setting(
        0.7,
        "0 shows each image once an epoch, 1 shows as many of the smallest set as of the largest; between is between",
    )
    shares: tuple[str, ...] = _setting(
        (), "share of each set in an epoch, as montgomery=0.2 shenzhen=0.4; instead of --balance"
    )
    augment: bool = _setting(True, "change images at random; --no-augment shows them as they are")
    leave_out: tuple[str, ...] = _setting(("bad",), "mask qualities that are neither trained nor validated on")
    folds: int = _setting(0, "split the patients of --fold-source into so many folds; 0 is the index's own split")
    fold: int = _setting(0, "the fold that is left out of training and validated on, from 0")
    fold_source: str = _setting("radiologists", "the set that is split into folds")
    validation_images: int = _setting(60, "images of each set to validate on at most, evenly spread; 0 is all")
    choose_by: str = _setting(
        "tail",
        "which epoch is kept: the best 5th percentile of images, or the best mean Dice",
        ("tail", "dice"),
    )
    seed: int = _setting(1, "decides weights, order and augmentation")
    # machine
    precision: str = _setting(
        "auto",
        "auto is bf16 where the processor or GPU computes in it (AVX512-BF16, AMX, Ampere), else fp16 on a GPU and "
        "fp32 on a CPU",
        ("auto", "fp32", "fp16", "bf16"),
    )
    workers: int = _setting(1, "processes that load and change images, for each training process")


EARLIER_DEFAULTS: dict[str, Any] = {
    "outputs": ("lung",),
    "decoder": "concat",
    "field_weight": 0.0,
    "inside_weight": 0.0,
    "outside_weight": 0.0,
    "choose_by": "dice",
}
"""What settings that came later had been before they were settings, where their default is another one now."""


def read_config(facts: dict[str, Any]) -> Config:
    """Return the settings that a checkpoint or a model's card holds, also one from before some settings came."""
    known = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Config(**EARLIER_DEFAULTS | known)


ORIGINAL = Config(
    in_channels=3,
    outputs=("lung",),
    base=64,
    depth=4,
    max_channels=1024,
    stem=1,
    decoder="concat",
    upsample="transpose",
)
"""The author's 31.0 M network; the settings of its training are those of `tune`."""
