"""The settings of a training run, each a flag of `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def _setting(default: Any, meaning: str, choices: tuple[Any, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": meaning, "choices": choices})


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    # network
    in_channels: int = _setting(1, "input channels; the original network takes 3", (1, 3))
    outputs: tuple[str, ...] = _setting(
        ("lung", "field"),
        "what the network predicts: lung, or lung and field (both lungs and the heart's shadow between them)",
    )
    base: int = _setting(16, "channels of the first level; 64 in the original network")
    depth: int = _setting(4, "number of downsampling steps; usually 3 to 5")
    max_channels: int = _setting(192, "most channels of a level; 1024 in the original network")
    stem: int = _setting(4, "patch size of the strided convolution before the first level; 1 is none", (1, 2, 4))
    decoder: str = _setting(
        "add",
        "how the decoder merges skip connections: concat convolves both side by side, add sums them first, at a sixth "
        "of the cost",
        ("add", "concat"),
    )
    upsample: str = _setting("bilinear", "how the decoder upsamples", ("bilinear", "transpose"))
    head: str = _setting(
        "shuffle",
        "how logits reach full resolution after a stem: shuffle predicts them on the coarse grid and unfolds them, "
        "refine convolves at full resolution",
        ("shuffle", "refine"),
    )
    convolution: str = _setting(
        "normal",
        "3x3 convolutions of the levels: normal, or depthwise separable",
        ("normal", "separable"),
    )
    # loss
    bce_weight: float = _setting(1.0, "weight of binary cross-entropy")
    dice_weight: float = _setting(1.0, "weight of the Dice loss")
    field_weight: float = _setting(0.5, "weight of the field's loss; the lung's is 1")
    inside_weight: float = _setting(0.5, "penalty for lung predicted outside the predicted field")
    outside_weight: float = _setting(3.0, "penalty for the share of lung predicted outside the known field")
    # optimiser
    optimiser: str = _setting("adamw", "optimiser; sgd uses a momentum of 0.9", ("adam", "adamw", "sgd"))
    learning_rate: float = _setting(2e-3, "peak of the one-cycle schedule, or the constant rate")
    schedule: str = _setting(
        "onecycle", "learning rate schedule: one warm-up and decay per run, or constant", ("onecycle", "constant")
    )
    weight_decay: float = _setting(1e-2, "weight decay of adamw")
    epochs: int = _setting(60, "passes over the training images")
    epoch_images: int = _setting(0, "images per epoch; 0 is the size of the training set")
    batch: int = _setting(8, "batch size over all processes")
    ema: float = _setting(
        0.995, "decay of the weights' moving average, which is validated and exported; 0 turns it off"
    )
    # data
    sources: tuple[str, ...] = _setting((), "sets to train and validate on; all if none is named")
    balance: float = _setting(
        0.7,
        "0 draws each image once per epoch, 1 draws all sets equally often, values between interpolate",
    )
    shares: tuple[str, ...] = _setting(
        (), "share of each set in an epoch, as montgomery=0.2 shenzhen=0.4; replaces --balance"
    )
    augment: bool = _setting(True, "augment training images; --no-augment turns it off")
    leave_out: tuple[str, ...] = _setting(("bad",), "mask qualities to exclude from training and validation")
    folds: int = _setting(0, "number of folds for the patients of --fold-source; 0 uses the split of the index")
    fold: int = _setting(0, "the fold to hold out for validation, from 0")
    fold_source: str = _setting("radiologists", "the set to split into folds")
    validation_images: int = _setting(60, "most validation images per set, evenly spread; 0 is all")
    choose_by: str = _setting(
        "tail",
        "which epoch to keep: the best 5th percentile over images, or the best mean Dice",
        ("tail", "dice"),
    )
    seed: int = _setting(1, "seed of weights, order and augmentation")
    # machine
    precision: str = _setting(
        "auto",
        "auto is bf16 where the hardware supports it (AVX512-BF16, AMX, Ampere), else fp16 on a GPU and fp32 on a CPU",
        ("auto", "fp32", "fp16", "bf16"),
    )
    workers: int = _setting(1, "data loading processes for each training process")


EARLIER_DEFAULTS: dict[str, Any] = {
    "outputs": ("lung",),
    "decoder": "concat",
    "field_weight": 0.0,
    "inside_weight": 0.0,
    "outside_weight": 0.0,
    "choose_by": "dice",
}
"""Values that checkpoints from before these settings imply, where today's defaults differ."""


def read_config(facts: dict[str, Any]) -> Config:
    """Return the settings of a checkpoint or a model card, including those older than some settings."""
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
"""The original project's network with 31.0 M weights; `tune` has its training settings."""
