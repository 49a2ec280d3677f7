"""`tune`: repeat the original project's experiments, one change at a time.

    python -m model_export tune                                        all settings, then docs/TUNING.md
    python -m model_export tune --only baseline sgd                    these first; a later call adds the others
    python -m model_export tune --size 128 --base 16 --epochs 12       smaller, for a CPU
    python -m model_export tune --report-only                          only the document, from the finished runs

A stopped sweep continues where it was: finished settings are not run again, and a half-finished one resumes from its
last.pt.

Writes for each setting, in addition to the output of `train`: result.json, and prediction.png and target.png, the masks
of one validation image on the network's grid.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_fill_holes
from tqdm import tqdm

from lungseg.model.preprocess import InputSpec
from model_export.config import ORIGINAL, Config
from model_export.data.dataset import ImageDataset
from model_export.data.index import Index, digest_rows
from model_export.network import checkpoint
from model_export.scores import metrics
from model_export.sweeps import sweep
from model_export.sweeps.runs import read_run_result, save_run_result
from model_export.sweeps.sweep import SECOND_SEED, Variant

BASELINE = "baseline"
EXAMPLE_SOURCE = "montgomery"


def tune_settings(index: Index, output: Path, facts: dict[str, Any], only: tuple[str, ...]) -> dict[str, str]:
    """Train the unfinished settings, in run folders below ``output``.

    Args:
        index: the prepared images, at any size.
        facts: the arguments of `list_settings`.
        only: names of settings; empty is all.

    Returns:
        The reason for each failed setting.

    Raises:
        ValueError: a setting is unknown, or ``output`` or a run in it was started with other settings or images.
    """
    variants = list_settings(**facts)
    chosen = sweep.select_variants(variants, only)
    sweep.begin_sweep(output, facts | {"images_sha256": digest_rows(index.rows)}, variants)

    def work(variant: Variant) -> None:
        run = sweep.train_variant(index, variant, output)
        images = sweep.prepare_at_size(index, variant.size, output / "prepared" / str(variant.size))
        save_run_result(run, _look(images, run, variant.config))

    todo = [variant for variant in chosen if read_run_result(output / variant.name) is None]
    return sweep.run_variants(todo, work, "tune")


def list_settings(
    size: int, epochs: int, base: int, max_channels: int, precision: str, workers: int = 1
) -> list[Variant]:
    """Return the original baseline and the variant of each experiment.

    Raises:
        ValueError: the networks do not fit inputs of 0.5, 1 and 1.5 times ``size``.
    """
    if size < 32 or size % 32:
        raise ValueError(
            f"size is {size}; it must be a positive multiple of 32, because half of it is halved four times"
        )
    config = replace(
        ORIGINAL,
        base=base,
        max_channels=max_channels,
        optimiser="adam",
        learning_rate=1e-4,
        schedule="constant",
        batch=16,
        epochs=epochs,
        ema=0.0,
        balance=0.0,
        choose_by="dice",
        precision=precision,
        workers=workers,
    )
    depth, optimiser, data, loss = "levels and input", "optimiser", "batch, augmentation, seed", "loss"
    changed: list[tuple[str, str, str, dict[str, Any]]] = [
        ("levels-5", "5 levels instead of 4, the last as wide as the one above", depth, {"depth": 5}),
        ("input-half", f"input of {size // 2} pixels", depth, {"size": size // 2}),
        ("input-larger", f"input of {size * 3 // 2} pixels", depth, {"size": size * 3 // 2}),
        ("rate-1e-5", "learning rate 1e-5 instead of 1e-4", optimiser, {"learning_rate": 1e-5}),
        ("sgd", "SGD with momentum 0.9 instead of Adam", optimiser, {"optimiser": "sgd"}),
        ("batch-1", "batch of 1 instead of 16", data, {"batch": 1}),
        ("no-augment", "no augmentation", data, {"augment": False}),
        (SECOND_SEED, "nothing but the random seed", data, {"seed": 2}),
        ("bce", "BCE only", loss, {"dice_weight": 0.0}),
        ("dice", "Dice only", loss, {"bce_weight": 0.0}),
        ("bce-3-dice-1", "3 BCE + 1 Dice", loss, {"bce_weight": 3.0}),
        ("bce-1-dice-3", "1 BCE + 3 Dice", loss, {"dice_weight": 3.0}),
        ("bce-1-dice-10", "1 BCE + 10 Dice", loss, {"dice_weight": 10.0}),
    ]
    variants = [Variant(BASELINE, "the original settings", config, size, BASELINE)]
    for name, changes, group, overrides in changed:
        fields = {key: value for key, value in overrides.items() if key != "size"}
        variants.append(Variant(name, changes, replace(config, **fields), overrides.get("size", size), group))
    return variants


@torch.no_grad()
def _look(images: Index, run: Path, config: Config) -> dict[str, Any]:
    """Segment the validation images with the best weights of ``run``, save one example, and measure what Dice hides.

    Returns:
        "holes": the mean share of holes in a mask; "all_lung_dice": the mean Dice of calling every pixel lung;
        "example": the id of the example; "device" and "precision" of the training; "images": the numbers of images
        trained and validated on.
    """
    state = checkpoint.read_checkpoint(run / "best.pt")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = checkpoint.load_network(state).to(device)
    rows = images.select("validation", config.leave_out, config.sources)
    validation = ImageDataset(images, rows, InputSpec(**state["spec"]), augment=False)
    shown = next((place for place, row in enumerate(rows) if row.source == EXAMPLE_SOURCE), 0)
    holes, everything = [], []
    for place in tqdm(range(len(rows)), desc="check the masks", unit="image", leave=False):
        radiograph, wanted, _ = validation[place]
        mask = (network(radiograph[None].to(device))[0, 0] > 0).cpu().numpy()
        target = wanted[0].numpy() > 0
        holes.append(_hole_share(mask))
        everything.append(metrics.dice(np.ones_like(target), target))
        if place == shown:
            Image.fromarray(mask).save(run / "prediction.png")
            Image.fromarray(target).save(run / "target.png")
    return {
        "holes": float(np.mean(holes)),
        "all_lung_dice": float(np.mean(everything)),
        "example": rows[shown].id,
        "device": state.get("device", "an unrecorded device"),
        "precision": state.get("precision", config.precision),
        "images": [state["films"], len(rows)],
    }


def _hole_share(mask: NDArray[np.bool_]) -> float:
    filled = binary_fill_holes(mask)
    return float((filled & ~mask).sum() / max(int(filled.sum()), 1))
