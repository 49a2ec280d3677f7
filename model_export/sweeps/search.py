"""`search`: compare network shapes by accuracy and speed.

    python -m model_export search --epochs 20 --comparison-epochs 5 --comparison-size 256
    python -m model_export search --only default separable      these first; a later call adds the others
    python -m model_export search --draw-only                   only the plot, from search.csv

All shapes are trained alike, exported in FP32 and, if the gate passes, INT8, and scored on the validation images at
full size. Then all finished shapes are timed together. A stopped search continues where it was.

Writes for each shape, in addition to the output of `train`: network.onnx, network.int8.onnx and result.json; for shapes
trained at another size also full.onnx and full.int8.onnx, the same network at the prepared size, which are timed. For
all: search.csv, one line per file.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lungseg.model.lung import LungNetwork, int8_path
from lungseg.model.preprocess import InputSpec
from model_export.config import ORIGINAL, Config
from model_export.data.index import Index, IndexRow, digest_rows, read_target
from model_export.export import export
from model_export.network import checkpoint
from model_export.network.convert import put_card, to_onnx, write_onnx
from model_export.network.quantise import GateError, quantise, write_int8
from model_export.scores import metrics
from model_export.scores.scoring import segment_row
from model_export.sweeps import sweep
from model_export.sweeps.runs import read_run_result, save_run_result
from model_export.sweeps.sweep import SECOND_SEED, Variant
from model_export.sweeps.timing import count_gigaflops, count_million_weights, race_networks

MAX_PARITY_IMAGES = 10
"""Most images of the parity check; a wrong conversion shows on the first."""

DEFAULT, SHAPE, COMPARISON = "default", "shape", "comparison"


def search_shapes(index: Index, output: Path, facts: dict[str, Any], only: tuple[str, ...]) -> dict[str, str]:
    """Train, export and score the unfinished shapes, then time all finished ones and write search.csv.

    Args:
        index: the prepared images, at the input size of the default shape.
        facts: the arguments of `list_shapes` except size.
        only: names of shapes; empty is all.

    Returns:
        The reason for each failed shape.

    Raises:
        ValueError: a shape is unknown or does not fit its input, or ``output`` or a run in it was started with
            other settings or images.
    """
    variants = list_shapes(index.size, **facts)
    chosen = _fitting(sweep.select_variants(variants, only), named=bool(only))
    sweep.begin_sweep(output, facts | {"images_sha256": digest_rows(index.rows)}, variants)

    def work(variant: Variant) -> None:
        save_run_result(output / variant.name, _finish(index, variant, output))

    todo = [variant for variant in chosen if read_run_result(output / variant.name) is None]
    failed = sweep.run_variants(todo, work, "search")
    _write_table(index, variants, output)
    return failed


def list_shapes(
    size: int, epochs: int, comparison_epochs: int | None, comparison_size: int | None, precision: str, workers: int
) -> list[Variant]:
    """Return the default shape, the same with another seed, variations of it, and networks for comparison."""
    # No moving average of weights: in a short run it would still contain early weights, most so in slow learners.
    default = replace(Config(), epochs=epochs, ema=0.0, precision=precision, workers=workers)
    changed: dict[str, dict[str, Any]] = {
        "refine": {"head": "refine"},
        "base-16": {"base": 16},
        "base-24": {"base": 24},
        "base-48": {"base": 48},
        "max-128": {"max_channels": 128},
        "max-256": {"max_channels": 256},
        "stem-2": {"stem": 2},
        "depth-3": {"depth": 3},
        "depth-5": {"depth": 5},
        "separable": {"convolution": "separable"},
        "separable-stem-2": {"convolution": "separable", "stem": 2},
        "transpose": {"upsample": "transpose"},
    }
    variants = [
        Variant(DEFAULT, "", default, size, DEFAULT),
        Variant(SECOND_SEED, "nothing but the random seed", replace(default, seed=2), size, DEFAULT),
    ]
    for name, overrides in changed.items():
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in overrides.items())
        variants.append(Variant(name, words, replace(default, **overrides), size, SHAPE))
    for name, side in (("input-half", size // 2), ("input-three-quarters", size * 3 // 4)):
        variants.append(Variant(name, f"input {side}", default, side, SHAPE))
    for name, network in (
        ("original", ORIGINAL),
        *(
            (f"plain-{base}", replace(ORIGINAL, in_channels=1, base=base, max_channels=16 * base))
            for base in (16, 32, 64)
        ),
    ):
        config = replace(network, epochs=comparison_epochs or epochs, ema=0.0, precision=precision, workers=workers)
        words = f"U-Net, base {config.base}, {config.in_channels} channels in"
        side = size if comparison_size is None else comparison_size
        variants.append(Variant(name, words, config, side, COMPARISON))
    return variants


def _fitting(chosen: list[Variant], named: bool) -> list[Variant]:
    """Return the shapes that fit their input; print a line about the others, unless they were ``named``.

    Raises:
        ValueError: a shape that does not fit was named, or is the default shape or one for comparison, whose input size
            the caller chooses.
    """
    wrong = [variant for variant in chosen if variant.size <= 0 or variant.size % variant.divisor]
    if wrong:
        reasons = ", ".join(f"{each.name} ({each.size} pixels, not divisible by {each.divisor})" for each in wrong)
        if named or any(each.group != SHAPE for each in wrong):
            raise ValueError(f"the input does not fit {reasons}")
        print(f"left out, because the input does not fit: {reasons}")
    return [variant for variant in chosen if variant not in wrong]


def _finish(index: Index, variant: Variant, output: Path) -> dict[str, Any]:
    """Train, export and score one shape.

    Returns:
        "dice": the mean Dice of each set for each precision; "refused": why there is no INT8 file, or None.
    """
    run = sweep.train_variant(index, variant, output)
    rows = index.select_scored("validation", variant.config.leave_out)
    calibration = index.select("train", variant.config.leave_out)
    exact = run / "network.onnx"
    export(run / "best.pt", exact, index, rows[:: max(1, len(rows) // MAX_PARITY_IMAGES)][:MAX_PARITY_IMAGES])
    dice = {"fp32": _score(index, rows, exact)}
    refused = None
    try:
        quantise(exact, int8_path(exact), index, calibration, rows)
        dice["int8"] = _score(index, rows, int8_path(exact))
    except GateError as error:
        refused = str(error).partition(";")[0]
    if _resized(variant, index.size):
        _write_full(run, index, calibration, int8=refused is None)
    return {"dice": dice, "refused": refused}


def _resized(variant: Variant, size: int) -> bool:
    """Return whether a shape was trained at another size than it is compared at."""
    return variant.group == COMPARISON and variant.size != size


def _score(index: Index, rows: list[IndexRow], path: Path) -> dict[str, float]:
    """Return the mean Dice of each set, at full image size.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: an image is damaged.
    """
    model = LungNetwork(path, threads=1)
    dice: dict[str, list[float]] = {}
    for row in tqdm(rows, desc=f"score {path.name}", unit="image", leave=False):
        mask = segment_row(index, row, model).mask
        dice.setdefault(row.source, []).append(metrics.dice(mask, read_target(index, row)))
    return {source: float(np.mean(values)) for source, values in sorted(dice.items())}


def _write_full(run: Path, index: Index, calibration: list[IndexRow], int8: bool) -> None:
    """Write the network of ``run`` at the size of ``index`` in both precisions, for timing only."""
    state = checkpoint.read_checkpoint(run / "best.pt")
    spec = InputSpec(**(state["spec"] | {"size": index.size}))
    path = run / "full.onnx"
    model = to_onnx(checkpoint.load_network(state), spec)
    put_card(model, replace(checkpoint.make_card(state, "full"), input=spec))
    write_onnx(model, path)
    if int8:
        # The ranges do not change the speed, so one image is enough.
        write_int8(LungNetwork(path, threads=1), path, int8_path(path), index, calibration[:1])


def _write_table(index: Index, variants: list[Variant], output: Path) -> None:
    """Time all files of the finished shapes together and write search.csv; do nothing if none is finished."""
    entries = []
    for variant in variants:
        result = read_run_result(output / variant.name) or {"dice": {}}
        for precision, dice in result["dice"].items():
            path = output / variant.name / ("full.onnx" if _resized(variant, index.size) else "network.onnx")
            entries.append((variant, precision, dice, int8_path(path) if precision == "int8" else path))
    if not entries:
        return
    epochs = variants[0].config.epochs
    lines = []
    for (variant, precision, dice, path), milliseconds in zip(
        entries, race_networks([path for *_, path in entries]), strict=True
    ):
        resized = _resized(variant, index.size)
        less = [f"{variant.config.epochs} epochs"] * (variant.config.epochs != epochs)
        less += [f"at {variant.size} px"] * resized
        timed = index.size if resized else variant.size
        lines.append(
            {
                "name": variant.name,
                "changes": variant.changes,
                "group": variant.group,
                "precision": precision,
                "ms": f"{milliseconds:.2f}",
                "dice": f"{np.mean(list(dice.values())):.5f}",
                **{f"dice_{source}": f"{value:.5f}" for source, value in dice.items()},
                "weights_millions": f"{count_million_weights(variant.config):.3f}",
                "gflop": f"{count_gigaflops(variant.config, timed):.2f}",
                "megabytes": f"{path.stat().st_size / 1e6:.2f}",
                "size": timed,
                "trained": ", ".join(less),
            }
        )
    with (output / "search.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    for line in sorted(lines, key=lambda line: float(str(line["ms"]))):
        print(f"{line['name']:22}{line['precision']:6}{line['ms']:>10} ms   Dice {line['dice']}   {line['trained']}")
    for variant in variants:
        refused = (read_run_result(output / variant.name) or {}).get("refused")
        if refused:
            print(f"{variant.name}: no INT8 file, because {refused}")
    print(f"table: {output / 'search.csv'}")
