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
    in_channels: int = _setting(1, "channels of the input; the author's network takes 3", (1, 3))
    base: int = _setting(32, "channels of the first level; 64 in the author's network")
    depth: int = _setting(4, "how often the grid is halved; 3 to 5")
    max_channels: int = _setting(192, "channels of a level at most; 1024 in the author's network")
    stem: int = _setting(4, "pixels a side folded into channels before the first level", (1, 2, 4))
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
    # optimiser
    optimiser: str = _setting("adamw", "optimiser; sgd has a momentum of 0.9", ("adam", "adamw", "sgd"))
    learning_rate: float = _setting(2e-3, "peak of the one-cycle schedule, or the constant rate")
    schedule: str = _setting(
        "onecycle", "how the learning rate goes: up and down once in the run, or nowhere", ("onecycle", "constant")
    )
    weight_decay: float = _setting(1e-2, "for adamw")
    epochs: int = _setting(60, "passes over the training films")
    batch: int = _setting(8, "films a step, in all processes together")
    ema: float = _setting(0.995, "share kept of the running average of weights, which is what is validated; 0 is off")
    # data
    sources: tuple[str, ...] = _setting((), "sets to train and validate on; none named is all of them")
    balance: float = _setting(
        0.7,
        "0 shows each film once an epoch, 1 shows as many of the smallest set as of the largest; between is between",
    )
    augment: bool = _setting(True, "change films at random; --no-augment shows them as they are")
    leave_out: tuple[str, ...] = _setting(("bad",), "mask qualities that are neither trained nor validated on")
    seed: int = _setting(1, "decides weights, order and augmentation")
    # machine
    precision: str = _setting(
        "auto",
        "auto is fp16 on a GPU and fp32 on a CPU; bf16 is twice as fast on a CPU with AVX512-BF16",
        ("auto", "fp32", "fp16", "bf16"),
    )
    workers: int = _setting(1, "processes that load and change films, for each training process")


AUTHOR = Config(in_channels=3, base=64, depth=4, max_channels=1024, stem=1, upsample="transpose")
"""The author's 31.0 M network; the settings of its training are those of `tune`."""
