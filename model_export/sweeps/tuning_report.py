"""Write docs/TUNING.md and its plots from the run folders of `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from lungseg.files import write_atomically
from model_export.config import ORIGINAL, Config
from model_export.sweeps import sweep
from model_export.sweeps.claims import (
    MIN_DICE_MARGIN,
    MIN_HOLE_MARGIN,
    MIN_LEARNT_DICE,
    MIN_PLATEAU_EPOCHS,
    TunedRun,
    check_claims,
    dice_margin,
    read_tuned_runs,
)
from model_export.sweeps.dice_axis import scale_dice
from model_export.sweeps.sweep import SECOND_SEED, Variant
from model_export.sweeps.timing import count_million_weights
from model_export.sweeps.tune import BASELINE, list_settings

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

TARGET, PREDICTION = "black", "#d1495b"
LINE_COLOURS = ("#d1495b", "#2e86ab", "#e59500", "#4c9f70", "#7b5ea7")


def write_tuning_report(output: Path, document: Path) -> None:
    """Write ``document`` and, beside it, the folder ``tuning`` with its plots.

    Raises:
        FileNotFoundError: nothing was trained in ``output``.
        ValueError: no setting is finished, or a run was started with other settings.
    """
    facts = sweep.read_sweep_facts(output)
    facts.pop("images_sha256")
    variants = list_settings(**facts)
    sweep.check_runs(output, variants)
    runs = read_tuned_runs(output, variants)
    if not runs:
        raise ValueError(f"no setting in {output} is finished; run tune first")
    pictures = document.parent / "tuning"
    pictures.mkdir(parents=True, exist_ok=True)
    _draw_curves(runs, pictures / "curves.png")
    _draw_masks(runs, pictures / "masks.png")
    missing = [variant.name for variant in variants if variant.name not in runs]
    write_atomically(document, _text(facts, variants[0], runs, missing).encode())
    print(f"{document}: {len(runs)} of {len(variants)} settings, plots in {pictures}")


def _text(facts: dict[str, Any], baseline: Variant, runs: dict[str, TunedRun], missing: list[str]) -> str:
    config, size, some = baseline.config, baseline.size, next(iter(runs.values()))
    images, validated = some.result["images"]
    whole = (config.base, config.max_channels, size, config.epochs) == (ORIGINAL.base, ORIGINAL.max_channels, 512, 30)
    devices = " and ".join(sorted({run.result["device"] for run in runs.values()}))
    precisions = " and ".join(sorted({run.result.get("precision", config.precision) for run in runs.values()}))
    rows = "\n".join(_row(run) for run in runs.values())
    sources = " | ".join(f"Dice {source.capitalize()}" for source in some.best.sources)
    verdicts = "\n".join(f"| {each.claim} | {each.figures} | {each.verdict} |" for each in check_claims(runs))
    return f"""# The original experiments, repeated

`python -m model_export tune` generates this page from its runs, including all figures and verdicts. The baseline has
the settings of the original project; each experiment changes one of them.

- **Network**: the original U-Net, {config.in_channels} input channels, {config.base} to at most {config.max_channels} \
channels, {count_million_weights(config):.2f} M weights.
- **Input**: {size} x {size} pixels, half and one and a half times that.
- **Baseline**: {_settings(config)}.
- **Trained**: {config.epochs} epochs each ({images} images; batch 1 takes {config.batch} times as many steps), \
{sum(run.seconds for run in runs.values()) / 3600:.2f} hours of training in total, {precisions} precision, \
on {devices}. Validated on {validated} images.
- **Differences from the original**: each image is standardised by itself, gradients are clipped to a norm of 1, the \
augmentation is this repository's, and masks marked as bad are left out.

{_size_note(whole)}

    {_command(facts)}

{f"Not finished: {', '.join(missing)}." if missing else "All settings are finished."}

## Scores

| setting | what changed | {sources} | mean | best epoch | holes | seconds |
|---|---|{"---|" * len(some.best.sources)}---|---|---|---|
{rows}

Dice is measured on the validation images on the network's grid, at the epoch of the best mean, so Dice at different
input sizes refers to different grids. Holes are the mean share of a mask that is enclosed by lung but not lung. Seconds
are the total of all epochs.

## The original claims

| claim | figures | these runs |
|---|---|---|
{verdicts}

{_rule(runs)}

## Curves

![Validation Dice and training loss per epoch, for every setting](tuning/curves.png)

The Dice axis is finer near 1. Losses have different weights, so their levels cannot be compared.

## One image

![Outlines of target and prediction of one validation image, for every setting](tuning/masks.png)

The validation image {some.result["example"]}: outlines of the target (black) and the prediction (red). The image
itself is not shown, because this repository contains no image of these sets.
"""


def _size_note(whole: bool) -> str:
    if whole:
        return "Network, input size and epochs are the original ones:"
    return (
        f"This is smaller than the original experiments ({ORIGINAL.base} to {ORIGINAL.max_channels} channels, "
        "512 pixels,\n30 epochs), which may show effects that do not appear here. The command:"
    )


def _settings(config: Config) -> str:
    """Describe the baseline's values of what the experiments change."""
    return (
        f"{config.optimiser.capitalize()}, {config.schedule} learning rate {config.learning_rate:g}, batch "
        f"{config.batch}, {config.depth} levels, BCE + Dice {config.bce_weight:g}:{config.dice_weight:g}, "
        f"{'augmentation' if config.augment else 'no augmentation'}"
    )


def _rule(runs: dict[str, TunedRun]) -> str:
    """Explain the rule of the verdicts."""
    if {BASELINE, SECOND_SEED} <= runs.keys():
        between = abs(runs[BASELINE].dice - runs[SECOND_SEED].dice)
        seeds = f"The baseline with another seed differs by {between:.4f}; twice that"
    else:
        seeds = "The baseline was not trained with another seed, so the difference of seeds is a guess; it"
    margin = dice_margin(runs)
    return f"""Each setting was trained once, and one run proves little. {seeds},
and at least {MIN_DICE_MARGIN:g}, counts as no difference: here {margin:.4f}. For holes the margin is at least \
{MIN_HOLE_MARGIN:.1%} of a mask.
A network below a Dice of {MIN_LEARNT_DICE:g} has not learned, and its holes are not judged. A plateau needs at least \
{MIN_PLATEAU_EPOCHS} more epochs."""


def _command(facts: dict[str, Any]) -> str:
    flags = (f"--{name.replace('_', '-')} {value}" for name, value in facts.items())
    return f"python -m model_export tune {' '.join(flags)}"


def _row(run: TunedRun) -> str:
    best = run.best
    sources = " | ".join(f"{value:.4f}" for value in best.sources.values())
    name = f"**{run.variant.name}**" if run.variant.name == BASELINE else run.variant.name
    return (
        f"| {name} | {run.variant.changes} | {sources} | {best.dice:.4f} | {best.number} | {run.holes:.2%} | "
        f"{run.seconds:.0f} |"
    )


def _draw_curves(runs: dict[str, TunedRun], path: Path) -> None:
    """Plot a column for each group of settings, with the baseline: Dice above, loss below."""
    groups: dict[str, list[TunedRun]] = {}
    for run in runs.values():
        groups.setdefault(run.variant.group, []).append(run)
    base = groups.pop(BASELINE, [])
    groups = groups or {BASELINE: []}
    figure, axes = pyplot.subplots(
        2, len(groups), figsize=(1 + 4.2 * len(groups), 7.5), layout="constrained", sharex=True, squeeze=False
    )
    dices = [epoch.dice for run in runs.values() for epoch in run.log]
    for (above, below), (group, members) in zip(axes.T, groups.items(), strict=True):
        for run, colour in zip(base + members, ("black",) * len(base) + LINE_COLOURS, strict=False):
            epochs = [epoch.number for epoch in run.log]
            style: dict[str, Any] = {"color": colour, "linewidth": 1.5, "label": f"{run.variant.name}  {run.dice:.4f}"}
            style |= {"marker": "o", "markersize": 3} if len(epochs) < 20 else {}
            above.plot(epochs, [epoch.dice for epoch in run.log], **style)
            below.plot(epochs, [epoch.loss for epoch in run.log], **style)
        scale_dice(above, dices)
        above.set_title(group, fontsize=12)
        above.legend(title="best validation Dice", ncols=2, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.04))
        below.set_yscale("log")
        for ticks in (below.yaxis.set_major_formatter, below.yaxis.set_minor_formatter):
            ticks("{x:g}")
        below.set_xlabel("epoch")
        below.xaxis.get_major_locator().set_params(integer=True)
        for axis in (above, below):
            axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("validation Dice")
    axes[1, 0].set_ylabel("training loss, with its own weights")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_masks(runs: dict[str, TunedRun], path: Path) -> None:
    """Draw one tile per setting: the outlines of target and prediction, without the image."""
    columns = min(5, len(runs))
    lines = -(-len(runs) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(2.9 * columns, 3.15 * lines + 0.5), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, run in zip(axes.flat, runs.values(), strict=False):
        both = 2 * (run.prediction & run.target).sum() / max(run.prediction.sum() + run.target.sum(), 1)
        _outline(axis, run.target, TARGET, 2.2)
        _outline(axis, run.prediction, PREDICTION, 1.3)
        axis.set(xlim=(0, 1), ylim=(1, 0), aspect="equal")
        axis.set_title(f"{run.variant.name}\nDice {both:.4f}", fontsize=10)
        axis.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="0.8"))
    names = {"target": TARGET, "prediction": PREDICTION}
    figure.legend(
        handles=[Line2D([], [], color=colour, label=name) for name, colour in names.items()],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _outline(axis: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    """Draw the edge of a mask on the unit square; nothing for an empty mask."""
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(float)
    centres = (np.arange(len(padded)) - 0.5) / len(mask)
    axis.contour(centres, centres, padded, [0.5], colors=colour, linewidths=width)
