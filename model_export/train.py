"""`train`: train a U-Net on the prepared images.

One process, on a GPU if there is one:
    python -m model_export train --data data/prepared --output runs/lung_unet
Two GPUs of one machine, or several machines (see torchrun --help):
    torchrun --nproc-per-node 2 -m model_export train --data data/prepared --output runs/lung_unet
Resume a stopped run, with the same settings; on a CPU it ends with the same weights:
    python -m model_export train --resume --data data/prepared --output runs/lung_unet

The original 31.0 M network:
    python -m model_export train --in-channels 3 --outputs lung --base 64 --max-channels 1024 --stem 1 \\
        --decoder concat --upsample transpose --choose-by dice \\
        --optimiser adam --learning-rate 1e-4 --schedule constant --ema 0 --batch 16 --epochs 30 --output runs/original

Writes to the run folder: config.json, log.csv (one line per epoch), last.pt (everything to resume from) and best.pt
(the epoch with the best 5th percentile, or the best Dice, on the validation images: --choose-by).
"""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader
from tqdm import tqdm

from lungseg.model.preprocess import InputSpec
from model_export.config import Config, read_config
from model_export.data.dataset import ImageDataset, SeededSampler, balance_weights, share_weights
from model_export.data.index import QUALITIES, Index, digest_rows
from model_export.data.selection import read_shares, split_rows, spread_rows
from model_export.network import checkpoint
from model_export.network.fit import Rank, Trainer, validate


def train(index: Index, run: Path, config: Config, resume: bool) -> None:
    """Train for ``config.epochs`` epochs and write best.pt, last.pt and log.csv to ``run``.

    Raises:
        ValueError: the settings contradict each other, the images, or the run to resume.
        FileExistsError: ``run`` already holds a run and ``resume`` is False.
        FileNotFoundError: ``resume`` is True and ``run`` has no last.pt.
    """
    rank = _join_processes()
    try:
        _train(index, run, config, resume, rank)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _train(index: Index, run: Path, config: Config, resume: bool, rank: Rank) -> None:
    _check_names(config, index)
    rows, validation_rows = split_rows(index, config)
    _check(config, rank, len(rows), len(validation_rows))
    facts: dict[str, Any] = {
        "config": asdict(config),
        "spec": asdict(InputSpec(size=index.size, channels=config.in_channels)),
        "data_sha256": digest_rows(rows),
        "validation_sha256": digest_rows(validation_rows),
        "films": len(rows),
        "sources": sorted({row.source for row in rows}),
        "labelled": {source: by for source, by in index.labelled.items() if source in {row.source for row in rows}},
    }
    saved = _open_run(run, facts, resume)

    spec = InputSpec(**facts["spec"])
    training_set = ImageDataset(index, rows, spec, config.augment, config.seed, len(config.outputs))
    validation_set = ImageDataset(index, spread_rows(validation_rows, config.validation_images), spec, augment=False)
    shares = read_shares(config.shares)
    drawn = share_weights(rows, shares) if shares else balance_weights(rows, config.balance)
    sampler = SeededSampler(drawn, config.seed, rank.index, rank.count, config.epoch_images or None)
    loader = DataLoader(
        training_set,
        batch_size=config.batch // rank.count,
        sampler=sampler,
        num_workers=config.workers,
        drop_last=True,
        persistent_workers=config.workers > 0,
        pin_memory=rank.device.type == "cuda",
    )
    trainer = Trainer(config, rank, len(loader))
    history: list[dict[str, str]] = []
    best = -1.0
    if saved:
        trainer.load_state_dict(saved["fit"])
        history, best = saved["history"], saved["best"]

    for epoch in range(len(history), config.epochs):
        started = time.monotonic()
        sampler.epoch = epoch
        bar = tqdm(
            loader, desc=f"epoch {epoch + 1}/{config.epochs}", unit="batch", leave=False, disable=rank.index != 0
        )
        loss = trainer.run_epoch(bar, best)
        if not np.isfinite(loss):
            raise ValueError(f"the loss is {loss} in epoch {epoch + 1}; lower --learning-rate")
        if rank.index != 0:
            continue
        found = validate(trainer.validated_network, validation_set, rank.device)
        history.append(
            {"epoch": str(epoch + 1), "loss": f"{loss:.5f}"}
            | {name: f"{value:.5f}" for name, value in found.columns().items()}
            | {"learning_rate": f"{trainer.learning_rate:.2e}", "seconds": f"{time.monotonic() - started:.1f}"}
        )
        scores = {source: float(np.mean(values)) for source, values in found.dice.items()}
        state = facts | {
            "weights": trainer.validated_network.state_dict(),
            "validation_dice": scores,
            "epoch": epoch + 1,
        }
        state |= {"validation": found.columns()} | trainer.machine
        score = found.tail if config.choose_by == "tail" else found.mean_dice
        if score > best:
            best = score
            checkpoint.save_checkpoint(state, run / "best.pt")
        checkpoint.save_checkpoint(
            state | {"fit": trainer.state_dict(), "history": history, "best": best}, run / "last.pt"
        )
        _write_log(run / "log.csv", history)
        tqdm.write("  ".join(f"{name} {value}" for name, value in history[-1].items()))
    if rank.index == 0:
        measure = "5th percentile" if config.choose_by == "tail" else "Dice"
        print(f"best validation {measure} {best:.4f}; weights in {run / 'best.pt'}")


def _join_processes() -> Rank:
    """Join the processes that torchrun started, if it did."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    return Rank(device, rank, world)


def _check_names(config: Config, index: Index) -> None:
    known = {row.source for row in index.rows}
    if not set(config.sources) <= known:
        raise ValueError(f"sources are {', '.join(config.sources)}; the index has {', '.join(sorted(known))}")
    if config.outputs not in (("lung",), ("lung", "field")):
        raise ValueError(f"outputs are {', '.join(config.outputs)}; they can be lung, or lung field")
    if not set(config.leave_out) <= set(QUALITIES):
        raise ValueError(f"leave_out is {', '.join(config.leave_out)}; a mask can be {', '.join(QUALITIES)}")


def _check(config: Config, rank: Rank, images: int, validation_images: int) -> None:
    for name in ("base", "depth", "max_channels", "epochs", "batch", "learning_rate"):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be more than 0")
    if not 0 <= config.balance <= 1:
        raise ValueError(f"balance is {config.balance}; it can be 0 to 1")
    if not images or not validation_images:
        raise ValueError(f"{images} images to train on and {validation_images} to validate on; both need at least one")
    if config.batch % rank.count:
        raise ValueError(f"a batch of {config.batch} is not divisible by {rank.count} processes")
    if images < config.batch:
        raise ValueError(f"{images} images to train on are fewer than a batch of {config.batch}")


def _open_run(run: Path, facts: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Return the checkpoint to resume from; for a new run create its folder and return None."""
    last = run / "last.pt"
    if resume:
        saved = checkpoint.read_checkpoint(last)
        # A setting that is newer than the run had the effect of its default.
        saved["config"] = asdict(read_config(saved["config"]))
        for name in ("config", "spec", "data_sha256", "validation_sha256"):
            if saved[name] != facts[name]:
                raise ValueError(f"{run} was started with another {name}; to resume, use the same: {saved[name]}")
        return saved
    if last.exists():
        raise FileExistsError(f"{run} already holds a run; continue it with --resume, or name another folder")
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    return None


def _write_log(path: Path, history: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
