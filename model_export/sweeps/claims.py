"""What the author found, held against the runs of `tune`: each verdict follows from the figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.sweeps.runs import EpochLog, read_log, read_run_result
from model_export.sweeps.sweep import SECOND_SEED, Variant

MIN_DICE_MARGIN = 0.002
"""Differences of Dice up to this one count as none, or up to twice that of two seeds, if that is larger."""

MIN_HOLE_MARGIN = 0.001
"""Holes are seen if they are this share of the mask more, 0.1 %, or twice what two seeds differ by, if that is more."""

MIN_LEARNT_DICE = 0.5
"""A network below this has not learnt: the author's SGD stayed at 0.4, about the Dice of calling every pixel lung."""

PLATEAU_EPOCHS = (20, 30)
"""Epochs that count as "about 25"."""

MIN_PLATEAU_EPOCHS = 5
"""Epochs that a plateau must go on for: without them the Dice may still be rising."""

AGREES, CONTRARY = "agrees, in one run each", "contrary, in one run each"
NO_DIFFERENCE = "no difference beyond what a seed makes"
NOT_LEARNT = "cannot be told: the baseline itself has not learnt"


@dataclass(frozen=True)
class TunedRun:
    """A finished setting of `tune`.

    Attributes:
        result: its result.json (`tune` says what is in it).
        prediction, target: masks of the example, (size, size) bool.
    """

    variant: Variant
    log: list[EpochLog]
    result: dict[str, Any]
    prediction: NDArray[np.bool_]
    target: NDArray[np.bool_]

    @property
    def best(self) -> EpochLog:
        """The first epoch of the highest validation Dice, whose weights were kept."""
        return max(self.log, key=lambda epoch: epoch.dice)

    @property
    def dice(self) -> float:
        """The highest validation Dice."""
        return self.best.dice

    @property
    def holes(self) -> float:
        """Mean share of a mask that is hole."""
        return float(self.result["holes"])

    @property
    def seconds(self) -> float:
        """How long all epochs took."""
        return sum(epoch.seconds for epoch in self.log)


@dataclass(frozen=True)
class CheckedClaim:
    """What the author said, the figures that bear on it, and what they say of it."""

    claim: str
    figures: str
    verdict: str


def read_tuned_runs(output: Path, variants: list[Variant]) -> dict[str, TunedRun]:
    """The finished settings below ``output``, by name, in the order of ``variants``."""
    runs = {}
    for variant in variants:
        folder = output / variant.name
        result = read_run_result(folder)
        if result is not None:
            masks = [np.asarray(Image.open(folder / f"{name}.png")) > 0 for name in ("prediction", "target")]
            runs[variant.name] = TunedRun(variant, read_log(folder), result, *masks)
    return runs


def dice_margin(runs: dict[str, TunedRun]) -> float:
    """The difference of Dice up to which two settings count as equal."""
    return _noise(runs, MIN_DICE_MARGIN, lambda run: run.dice)


def _noise(runs: dict[str, TunedRun], least: float, measure: Callable[[TunedRun], float]) -> float:
    """Twice the difference of two seeds, as the next pair may well differ by more than this one; at least ``least``."""
    if not {"baseline", SECOND_SEED} <= runs.keys():
        return least
    return max(least, 2 * abs(measure(runs["baseline"]) - measure(runs[SECOND_SEED])))


def check_claims(runs: dict[str, TunedRun]) -> list[CheckedClaim]:
    """The author's findings, in the order of the author's list; none can be told if the baseline has not learnt."""
    equal = dice_margin(runs)
    if "baseline" in runs and runs["baseline"].dice < MIN_LEARNT_DICE:
        return [replace(each, verdict=NOT_LEARNT) if each.figures else each for each in _findings(runs, equal)]
    return _findings(runs, equal)


def _findings(runs: dict[str, TunedRun], equal: float) -> list[CheckedClaim]:

    def pair(claim: str, name: str, worse: str) -> CheckedClaim:
        """The author found that ``name`` scores less than the baseline; ``worse`` names it in the figures."""
        if not {"baseline", name} <= runs.keys():
            return CheckedClaim(claim, "", "not run")
        base, other = runs["baseline"].dice, runs[name].dice
        verdict = AGREES if base - other > equal else CONTRARY if other - base > equal else NO_DIFFERENCE
        return CheckedClaim(claim, f"Dice {other:.4f} {worse}, {base:.4f} baseline ({other - base:+.4f})", verdict)

    return [
        pair("5 levels were worse than 4", "levels-5", "with 5"),
        _holes(runs),
        _sgd(runs),
        pair("batch 16 beat batch 1", "batch-1", "with batch 1"),
        pair("augmentation helped a little", "no-augment", "without"),
        _plateau(runs, equal),
    ]


def _holes(runs: dict[str, TunedRun]) -> CheckedClaim:
    claim = "learning rate 1e-5 left holes in the lungs"
    if not {"baseline", "rate-1e-5"} <= runs.keys():
        return CheckedClaim(claim, "", "not run")
    base, slow = runs["baseline"], runs["rate-1e-5"]
    figures = (
        f"holes are {slow.holes:.2%} of a mask with 1e-5, {base.holes:.2%} baseline; "
        f"Dice {slow.dice:.4f} and {base.dice:.4f}"
    )
    if slow.dice < MIN_LEARNT_DICE:
        return CheckedClaim(claim, figures, "cannot be told: with 1e-5 it has not learnt")
    more, equal = slow.holes - base.holes, _noise(runs, MIN_HOLE_MARGIN, lambda run: run.holes)
    return CheckedClaim(claim, figures, AGREES if more > equal else CONTRARY if more < -equal else NO_DIFFERENCE)


def _sgd(runs: dict[str, TunedRun]) -> CheckedClaim:
    claim = "SGD did not learn (Dice 0.4)"
    if "sgd" not in runs:
        return CheckedClaim(claim, "", "not run")
    run = runs["sgd"]
    figures = f"Dice {run.dice:.4f}; calling every pixel lung gives {run.result['all_lung_dice']:.4f}"
    if "baseline" not in runs:
        return CheckedClaim(claim, figures, "cannot be told: there is no baseline that has learnt")
    return CheckedClaim(claim, figures, AGREES if run.dice < MIN_LEARNT_DICE else CONTRARY)


def _plateau(runs: dict[str, TunedRun], equal: float) -> CheckedClaim:
    claim = "a plateau at about 25 epochs"
    if "baseline" not in runs:
        return CheckedClaim(claim, "", "not run")
    run = runs["baseline"]
    reached = next(epoch.number for epoch in run.log if epoch.dice >= run.dice - equal)
    figures = f"the baseline is within {equal:.4f} of its best Dice from epoch {reached} of {len(run.log)}"
    low, high = PLATEAU_EPOCHS
    if len(run.log) < high:
        return CheckedClaim(claim, figures, f"cannot be told: trained for {len(run.log)} epochs")
    if reached + MIN_PLATEAU_EPOCHS > len(run.log):
        return CheckedClaim(claim, figures, "cannot be told: still rising")
    if low <= reached <= high:
        return CheckedClaim(claim, figures, "agrees, in one run")
    return CheckedClaim(claim, figures, f"contrary, in one run: {'earlier' if reached < low else 'later'}")
