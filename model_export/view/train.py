"""`view`: train the small network that recognises orientation and frontal chest X-rays.

It averages the segmentation network's input to a quarter of its side, because it needs no fine detail. Serving reads
its output as a lungseg.model.view.View.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from lungseg.files import write_atomically
from lungseg.model.card import METADATA_KEY
from lungseg.model.preprocess import InputSpec, paste_box, preprocess, standardise
from lungseg.model.view import ViewNetwork
from model_export.data.index import Index, IndexRow, digest_rows, read_square
from model_export.export import MAX_DIFFERENCE
from model_export.network.convert import ParityError, fold_batch_norm, trace_network, write_onnx
from model_export.view.batches import POOL, Batch, Batches
from model_export.view.made_up import make_up_pictures
from model_export.view.network import ServedView, ViewCnn, measure_view, view_loss
from model_export.view.pictures import (
    Picture,
    read_image_pictures,
    read_lung_masks,
    read_other_pictures,
)

BATCH_SIZE = 64
"""Squares per step, half of them frontal images."""

LEARNING_RATE = 3e-3
"""Peak of the one-cycle schedule."""

EMA_DECAY = 0.99
"""Decay of the weights' moving average, which is validated and exported."""

MADE_UP_COUNT, MADE_UP_VALIDATION_COUNT = 600, 60
"""Numbers of made-up pictures."""

HELD_OUT_EVERY = 10
"""Every tenth picture of a folder is for validation."""

VALIDATION_BATCHES = 8
"""Fixed batches of augmented validation pictures, whose loss chooses the epoch."""


def train_view(
    index: Index, folders: list[Path], output: Path, epochs: int, seed: int, bf16: bool = False
) -> dict[str, Any]:
    """Train, print the validation scores, and write the ONNX file with its card.

    Args:
        index: the prepared images; the test split is not used.
        folders: folders of pictures that are not frontal chest X-rays.
        output: the file to write.
        epochs: passes over the training images.
        seed: seed of weights, order and augmentation.
        bf16: convolve in bfloat16.

    Returns:
        The file's card.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: there is no image to train or validate on, or ``epochs`` is below 1.
        ParityError: onnxruntime does not reproduce PyTorch's output; nothing is written.
    """
    rows, validation_rows = index.select_images("train"), index.select_images("validation")
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; it must be at least 1")
    if not rows or not validation_rows:
        raise ValueError(
            f"{len(rows)} images to train on and {len(validation_rows)} to validate on; both need at least one"
        )
    others, refused = read_other_pictures(folders)
    learned, held = _split(others)
    made = make_up_pictures(MADE_UP_COUNT, seed, read_lung_masks(index, index.select("train")))
    made_for_validation = make_up_pictures(
        MADE_UP_VALIDATION_COUNT, seed + 1, read_lung_masks(index, index.select("validation"))
    )
    print(
        f"{len(rows)} images and {len(learned)} other pictures to train on, {len(validation_rows)} and {len(held)} to "
        f"validate on; {refused} files rejected"
    )
    batches = Batches(read_image_pictures(index, rows), learned, made, index.size, seed)
    validation = Batches(read_image_pictures(index, validation_rows), held, made_for_validation, index.size, seed + 1)
    network = _fit(batches, [validation.draw(BATCH_SIZE) for _ in range(VALIDATION_BATCHES)], epochs, seed, bf16)

    images = torch.cat([_square(index, row) for row in validation_rows])
    metrics = measure_view(
        network, functional.avg_pool2d(images, POOL), _squares(held + made_for_validation, index.size)
    )
    card = {
        "name": output.stem,
        "input": asdict(InputSpec(size=index.size)),
        "training": {
            "films": len(rows),
            "sources": sorted({row.source for row in rows}),
            # Made-up pictures use the outlines of the images' masks.
            "labelled": index.labelled,
            "data_sha256": digest_rows(rows),
            "others": dict(Counter(picture.group for picture in learned)),
            "made": MADE_UP_COUNT,
            "epochs": epochs,
            "seed": seed,
        },
        "metrics": {"validation_films": len(validation_rows)} | metrics,
    }
    _export(network, card, images, output)
    for name, value in metrics.items():
        print(f"{name.replace('_', ' ')}: {value}")
    return card


def _split(others: list[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Return pictures to train on, and every tenth of each group to validate on."""
    learned: list[Picture] = []
    held: list[Picture] = []
    seen: Counter[str] = Counter()
    for picture in others:
        seen[picture.group] += 1
        (held if seen[picture.group] % HELD_OUT_EVERY == 0 else learned).append(picture)
    return learned, held


def _fit(batches: Batches, validation: list[Batch], epochs: int, seed: int, bf16: bool) -> ViewCnn:
    """Train; return the averaged weights of the epoch with the lowest validation loss."""
    torch.manual_seed(seed)
    # Channels last is twice as fast on a CPU.
    network = ViewCnn(batches.side).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY), use_buffers=True)
    steps = max(1, round(len(batches.images) / (BATCH_SIZE / 2)))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=epochs * steps)
    best, kept = np.inf, network.state_dict()
    bar = tqdm(range(epochs), desc="view", unit="epoch")
    for _ in bar:
        network.train()
        total = 0.0
        for _ in range(steps):
            batch = batches.draw(BATCH_SIZE)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = network(batch.squares.contiguous(memory_format=torch.channels_last))
            loss = view_loss(logits.float(), batch)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(network)
            total += loss.item()
        average.eval()
        with torch.inference_mode():
            now = float(np.mean([view_loss(average(batch.squares), batch).item() for batch in validation]))
        if now < best:
            best, kept = now, {name: value.clone() for name, value in average.module.state_dict().items()}
        bar.set_postfix(loss=f"{total / steps:.3f}", validation=f"{now:.3f}", best=f"{best:.3f}")
    if not np.isfinite(best):
        raise ValueError("the validation loss was never finite")
    network.load_state_dict(kept)
    return network.eval()


def _square(index: Index, row: IndexRow) -> Tensor:
    """Return a prepared image as serving sees it, (1, 1, size, size)."""
    geometry = row.geometry(index.size)
    box = read_square(index, "images", row)[geometry.box]
    return torch.from_numpy(paste_box(standardise(box, InputSpec(size=index.size)), geometry))[None, None]


def _squares(pictures: list[Picture], size: int) -> dict[str, Tensor]:
    """Return each group's pictures as serving sees them, averaged, (N, 1, size / POOL, size / POOL)."""
    groups: dict[str, list[Tensor]] = {}
    for picture in pictures:
        square, _ = preprocess((picture.box * 255).astype(np.uint8), InputSpec(size=size))
        groups.setdefault(picture.group, []).append(functional.avg_pool2d(torch.from_numpy(square), POOL))
    return {group: torch.cat(squares) for group, squares in groups.items()}


def _export(network: ViewCnn, card: dict[str, Any], images: Tensor, output: Path) -> None:
    """Write the file if onnxruntime reproduces PyTorch's output on ``images``, (N, 1, size, size).

    Raises:
        ParityError.
    """
    served = ServedView(fold_batch_norm(network)).eval()
    model = trace_network(served, images[:1], "square", "view")
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(card, sort_keys=True))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        candidate = Path(folder) / "candidate.onnx"
        write_onnx(model, candidate)
        exported = ViewNetwork(candidate, threads=1)
        for image in images.split(1):
            found = exported(image.numpy())
            answer = np.array([*found.turns, found.mirrored, found.inverted, found.frontal])
            if not np.abs(answer - ServedView(network)(image).numpy()[0]).max() <= MAX_DIFFERENCE:
                raise ParityError(
                    f"onnxruntime and PyTorch differ by more than {MAX_DIFFERENCE:.0e}; nothing was written"
                )
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, candidate.read_bytes())
