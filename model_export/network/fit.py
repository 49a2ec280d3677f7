"""The training step, its state, and validation."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lungseg.model import processor
from model_export.config import Config
from model_export.data.dataset import Example, ImageDataset
from model_export.data.truth import score_field
from model_export.network.losses import KnownBceDice
from model_export.network.unet import build_network

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}
"""The dtypes for autocast; None turns it off."""


@dataclass(frozen=True)
class Rank:
    """This process among all processes of a run."""

    device: torch.device
    index: int
    count: int


class Trainer:
    """A network in training, with all state that a step changes."""

    def __init__(self, config: Config, rank: Rank, steps: int) -> None:
        """Args: steps: steps per epoch."""
        self.rank = rank
        self.ema = bool(config.ema)
        torch.manual_seed(config.seed)
        self.network = build_network(config).to(rank.device)
        # Channels last is twice as fast on a CPU and on tensor cores.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema), use_buffers=True)
        self.model: nn.Module = self.network
        if rank.count > 1:
            if rank.device.type == "cuda":
                # PyTorch has it for GPUs only; on CPUs each process normalises by its own part of the batch.
                self.model = nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            self.model = nn.parallel.DistributedDataParallel(self.model)
        self.loss = KnownBceDice(
            config.bce_weight, config.dice_weight, config.field_weight, config.inside_weight, config.outside_weight
        ).to(rank.device)
        self.optimiser = _optimiser(config, self.network)
        self.schedule = _schedule(config, self.optimiser, steps)
        self.precision = _precision(config.precision, rank.device)
        self.scaler = torch.amp.GradScaler(rank.device.type, enabled=self.precision == torch.float16)

    @property
    def validated_network(self) -> nn.Module:
        """The network to validate and keep: the moving average of the weights, if it is on."""
        return self.average.module if self.ema else self.network

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    @property
    def machine(self) -> dict[str, str]:
        """The "device" in use and the actual "precision"."""
        if self.rank.device.type == "cuda":
            device = torch.cuda.get_device_name(self.rank.device)
        else:
            device = f"a CPU (threads: {torch.get_num_threads()})"
        return {"device": device, "precision": next(name for name in PRECISIONS if PRECISIONS[name] == self.precision)}

    def run_epoch(self, bar: tqdm[Example], best: float) -> float:
        """Train on every batch of ``bar``; return the mean loss over the batches of all processes."""
        self.model.train()
        total = torch.zeros((), device=self.rank.device)
        for batch in bar:
            loss = self._step(*batch)
            total += loss
            if bar.n % 10 == 0:
                bar.set_postfix(loss=f"{loss.item():.4f}", best=f"{max(best, 0):.4f}")
        if self.rank.count > 1:
            dist.all_reduce(total)
        return total.item() / len(bar) / self.rank.count

    def _step(self, radiograph: Tensor, target: Tensor, known: Tensor) -> Tensor:
        radiograph = radiograph.to(self.rank.device, non_blocking=True, memory_format=torch.channels_last)
        target, known = (truth.to(self.rank.device, non_blocking=True) for truth in (target, known))
        with torch.autocast(self.rank.device.type, self.precision) if self.precision else nullcontext():
            loss = self.loss(self.model(radiograph), target, known)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.schedule.step()
        if self.ema:
            self.average.update_parameters(self.network)
        return loss.detach()

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resume needs; order and augmentation follow from the seed and the epoch."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }


@dataclass(frozen=True)
class Validation:
    """Scores of a network on each set, on its own grid at a threshold of 0.5.

    Attributes:
        dice: each image's Dice, for sets with lung masks.
        lateral: the share of each image's lateral third that was found, for sets with field masks (`data.truth`).
        outside: the share of each lung mask outside the field, for the same sets.
    """

    dice: dict[str, list[float]]
    lateral: dict[str, list[float]]
    outside: dict[str, list[float]]

    @property
    def mean_dice(self) -> float:
        """The mean of the sets' mean Dice; 0 without sets that have lung masks."""
        return float(np.mean([np.mean(values) for values in self.dice.values()])) if self.dice else 0.0

    @property
    def tail(self) -> float:
        """The mean of the sets' 5th percentiles of Dice or lateral third, minus the mean share outside fields."""
        tails = [np.percentile(values, 5) for values in (*self.dice.values(), *self.lateral.values())]
        outside = [np.mean(values) for values in self.outside.values()]
        return float(np.mean(tails) - (np.mean(outside) if outside else 0))

    def columns(self) -> dict[str, float]:
        """Return the columns for log.csv by name, the mean Dice over all sets first."""
        columns = {"validation_dice": self.mean_dice, "validation_tail": self.tail}
        columns |= {f"validation_dice_{source}": float(np.mean(values)) for source, values in self.dice.items()}
        columns |= {f"p5_dice_{source}": float(np.percentile(values, 5)) for source, values in self.dice.items()}
        columns |= {f"worst_dice_{source}": min(values) for source, values in self.dice.items()}
        columns |= {f"lateral_{source}": float(np.mean(values)) for source, values in self.lateral.items()}
        columns |= {f"p5_lateral_{source}": float(np.percentile(values, 5)) for source, values in self.lateral.items()}
        return columns | {f"outside_{source}": float(np.mean(values)) for source, values in self.outside.items()}


@torch.no_grad()
def validate(network: nn.Module, dataset: ImageDataset, device: torch.device) -> Validation:
    """Score a network on each set of ``dataset``."""
    network.eval()
    found = Validation({}, {}, {})
    for position, row in enumerate(dataset.rows):
        radiograph, target, _ = dataset[position]
        lung = (network(radiograph[None].to(device))[0, 0] > 0).cpu()
        if row.kind == "field":
            outside, lateral = score_field(lung.numpy(), dataset.masks[position])
            found.outside.setdefault(row.source, []).append(outside)
            found.lateral.setdefault(row.source, []).append(lateral)
        else:
            found.dice.setdefault(row.source, []).append(_dice(lung, target[0] > 0))
    return Validation(*(dict(sorted(part.items())) for part in (found.dice, found.lateral, found.outside)))


def _dice(mask: Tensor, target: Tensor) -> float:
    return float(2 * (mask & target).sum() / (mask.sum() + target.sum()))


def _optimiser(config: Config, network: nn.Module) -> torch.optim.Optimizer:
    if config.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), config.learning_rate)
    if config.optimiser == "adamw":
        return torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    if config.optimiser == "sgd":
        return torch.optim.SGD(network.parameters(), config.learning_rate, momentum=0.9)
    raise ValueError(f"optimiser is {config.optimiser!r}; it can be 'adam', 'adamw' or 'sgd'")


def _schedule(config: Config, optimiser: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "onecycle":
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, epochs=config.epochs, steps_per_epoch=steps
        )
    if config.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1, total_iters=0)
    raise ValueError(f"schedule is {config.schedule!r}; it can be 'onecycle' or 'constant'")


def _precision(name: str, device: torch.device) -> torch.dtype | None:
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if (processor.instructions() or set()) & {"avx512_bf16", "amx_bf16"} else None
    if name not in PRECISIONS:
        raise ValueError(f"precision is {name!r}; it can be auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
