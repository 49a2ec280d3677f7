"""`train`: fit a U-Net to the prepared films.

One process, on a GPU if there is one:
    python -m model_export train --data data/prepared --output runs/lung_unet
Two GPUs of one machine, or several machines (see torchrun --help):
    torchrun --nproc-per-node 2 -m model_export train --data data/prepared --output runs/lung_unet
Go on after a stop, with the same settings, to the same weights:
    python -m model_export train --resume --data data/prepared --output runs/lung_unet

The author's 31.0 M network:
    python -m model_export train --in-channels 3 --base 64 --max-channels 1024 --stem 1 --upsample transpose \\
        --optimiser adam --learning-rate 1e-4 --schedule constant --ema 0 --batch 16 --epochs 30 --output runs/author

Written to the run folder: config.json, log.csv (one line an epoch), last.pt (all that a resume needs) and best.pt (the
highest validation Dice).
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

from app.preprocess import InputSpec
from model_export import checkpoint
from model_export.config import Config
from model_export.data import Films, SeededOrder, weights
from model_export.fit import Fit, Place, validate
from model_export.index import QUALITIES, Index, digest


def train(index: Index, run: Path, config: Config, resume: bool) -> None:
    """Train to ``config.epochs`` and leave best.pt, last.pt and log.csv in ``run``.

    Raises:
        ValueError: the settings do not fit each other, the films, or the run that is resumed.
        FileExistsError: ``run`` holds a run already and ``resume`` is False.
        FileNotFoundError: ``resume`` is True and ``run`` holds no last.pt.
    """
    place = _join()
    try:
        _train(index, run, config, resume, place)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _train(index: Index, run: Path, config: Config, resume: bool, place: Place) -> None:
    _check_names(config, index)
    rows = index.select("train", config.leave_out, config.sources)
    validation_rows = index.select("validation", config.leave_out, config.sources)
    _check(config, place, len(rows), len(validation_rows))
    facts: dict[str, Any] = {
        "config": asdict(config),
        "spec": asdict(InputSpec(size=index.size, channels=config.in_channels)),
        "data_sha256": digest(rows),
        "validation_sha256": digest(validation_rows),
        "films": len(rows),
        "sources": sorted({row.source for row in rows}),
        "labelled": {source: by for source, by in index.labelled.items() if source in {row.source for row in rows}},
    }
    saved = _open_run(run, facts, resume)

    spec = InputSpec(**facts["spec"])
    films = Films(index, rows, spec, config.augment, config.seed)
    validation = Films(index, validation_rows, spec, augment=False)
    order = SeededOrder(weights(rows, config.balance), config.seed, place.rank, place.world)
    loader = DataLoader(
        films,
        batch_size=config.batch // place.world,
        sampler=order,
        num_workers=config.workers,
        drop_last=True,
        persistent_workers=config.workers > 0,
        pin_memory=place.device.type == "cuda",
    )
    fit = Fit(config, place, len(loader))
    history: list[dict[str, str]] = []
    best = -1.0
    if saved:
        fit.load_state_dict(saved["fit"])
        history, best = saved["history"], saved["best"]

    for epoch in range(len(history), config.epochs):
        started = time.monotonic()
        order.epoch = epoch
        bar = tqdm(
            loader, desc=f"epoch {epoch + 1}/{config.epochs}", unit="batch", leave=False, disable=place.rank != 0
        )
        loss = fit.epoch(bar, best)
        if not np.isfinite(loss):
            raise ValueError(f"the loss is {loss} in epoch {epoch + 1}; lower --learning-rate")
        if place.rank != 0:
            continue
        scores = validate(fit.kept, validation, place.device)
        dice = float(np.mean(list(scores.values())))
        history.append(
            {"epoch": str(epoch + 1), "loss": f"{loss:.5f}", "validation_dice": f"{dice:.5f}"}
            | {f"validation_dice_{source}": f"{value:.5f}" for source, value in scores.items()}
            | {"learning_rate": f"{fit.learning_rate:.2e}", "seconds": f"{time.monotonic() - started:.1f}"}
        )
        now = facts | {"weights": fit.kept.state_dict(), "validation_dice": scores, "epoch": epoch + 1}
        now |= fit.machine
        if dice > best:
            best = dice
            checkpoint.save(now, run / "best.pt")
        checkpoint.save(now | {"fit": fit.state_dict(), "history": history, "best": best}, run / "last.pt")
        _write_log(run / "log.csv", history)
        tqdm.write("  ".join(f"{name} {value}" for name, value in history[-1].items()))
    if place.rank == 0:
        print(f"best validation Dice {best:.4f}; weights in {run / 'best.pt'}")


def _join() -> Place:
    """Join the processes that torchrun started; alone without torchrun."""
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if world > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    return Place(device, rank, world)


def _check_names(config: Config, index: Index) -> None:
    known = {row.source for row in index.rows}
    if not set(config.sources) <= known:
        raise ValueError(f"sources are {', '.join(config.sources)}; there are {', '.join(sorted(known))}")
    if not set(config.leave_out) <= set(QUALITIES):
        raise ValueError(f"leave_out is {', '.join(config.leave_out)}; a mask can be {', '.join(QUALITIES)}")


def _check(config: Config, place: Place, films: int, validation_films: int) -> None:
    for name in ("base", "depth", "max_channels", "epochs", "batch", "learning_rate"):
        if getattr(config, name) <= 0:
            raise ValueError(f"{name} is {getattr(config, name)}; it must be more than 0")
    if not 0 <= config.balance <= 1:
        raise ValueError(f"balance is {config.balance}; it can be 0 to 1")
    if not films or not validation_films:
        raise ValueError(f"{films} films to train on, {validation_films} to validate on; both need some")
    if config.batch % place.world:
        raise ValueError(f"a batch of {config.batch} cannot be shared by {place.world} processes")
    if films < config.batch:
        raise ValueError(f"{films} films to train on are fewer than a batch of {config.batch}")


def _open_run(run: Path, facts: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """The checkpoint to go on from; None, and a run folder, for a new run."""
    last = run / "last.pt"
    if resume:
        saved = checkpoint.read(last)
        # A setting that came after the run began had its default's effect then.
        saved["config"] = asdict(Config(**saved["config"]))
        for name in ("config", "spec", "data_sha256", "validation_sha256"):
            if saved[name] != facts[name]:
                raise ValueError(f"{run} was started with another {name}; a resume needs the same: {saved[name]}")
        return saved
    if last.exists():
        raise FileExistsError(f"{run} holds a run already; go on with --resume, or name another folder")
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.json").write_text(json.dumps(facts, indent=2) + "\n")
    return None


def _write_log(path: Path, history: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)
