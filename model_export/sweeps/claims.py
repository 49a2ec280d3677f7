"""Check the original project's claims against the runs of `tune`."""

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
"""Margin of Dice within which two settings count as equal, or twice the difference of two seeds if that is larger."""

MIN_HOLE_MARGIN = 0.001
"""Margin of the share of holes, 0.1 % of a mask, or twice the difference of two seeds if that is larger."""

MIN_LEARNT_DICE = 0.5
"""Below this Dice a network has not learned: the original SGD run stayed at 0.4, as if every pixel were lung."""

PLATEAU_EPOCHS = (20, 30)
"""Epochs that count as "about 25"."""

MIN_PLATEAU_EPOCHS = 5
"""Shortest plateau: with fewer epochs the Dice may still be rising."""

AGREES, CONTRARY = "confirmed, in one run each", "contradicted, in one run each"
NO_DIFFERENCE = "no difference beyond that of two seeds"
NOT_LEARNT = "inconclusive: the baseline itself has not learned"


@dataclass(frozen=True)
class TunedRun:
    """A finished setting of `tune`.

    Attributes:
        result: its result.json (described in `tune`).
        prediction, target: masks of the example image, (size, size) bool.
    """

    variant: Variant
    log: list[EpochLog]
    result: dict[str, Any]
    prediction: NDArray[np.bool_]
    target: NDArray[np.bool_]

    @property
    def best(self) -> EpochLog:
        """The first epoch with the highest validation Dice, whose weights were kept."""
        return max(self.log, key=lambda epoch: epoch.dice)

    @property
    def dice(self) -> float:
        """The highest validation Dice."""
        return self.best.dice

    @property
    def holes(self) -> float:
        """Mean share of holes in a mask."""
        return float(self.result["holes"])

    @property
    def seconds(self) -> float:
        """Duration of all epochs."""
        return sum(epoch.seconds for epoch in self.log)


@dataclass(frozen=True)
class CheckedClaim:
    """A claim of the original project, the figures that test it, and the verdict."""

    claim: str
    figures: str
    verdict: str


def read_tuned_runs(output: Path, variants: list[Variant]) -> dict[str, TunedRun]:
    """Return the finished settings below ``output`` by name, in the order of ``variants``."""
    runs = {}
    for variant in variants:
        folder = output / variant.name
        result = read_run_result(folder)
        if result is not None:
            masks = [np.asarray(Image.open(folder / f"{name}.png")) > 0 for name in ("prediction", "target")]
            runs[variant.name] = TunedRun(variant, read_log(folder), result, *masks)
    return runs


def dice_margin(runs: dict[str, TunedRun]) -> float:
    """Return the margin of Dice within which two settings count as equal."""
    return _noise(runs, MIN_DICE_MARGIN, lambda run: run.dice)


def _noise(runs: dict[str, TunedRun], least: float, measure: Callable[[TunedRun], float]) -> float:
    """Return twice the difference of two seeds, as another pair may differ by more; at least ``least``."""
    if not {"baseline", SECOND_SEED} <= runs.keys():
        return least
    return max(least, 2 * abs(measure(runs["baseline"]) - measure(runs[SECOND_SEED])))


def check_claims(runs: dict[str, TunedRun]) -> list[CheckedClaim]:
    """Return the claims in their original order; all are inconclusive if the baseline has not learned."""
    equal = dice_margin(runs)
    if "baseline" in runs and runs["baseline"].dice < MIN_LEARNT_DICE:
        return [replace(each, verdict=NOT_LEARNT) if each.figures else each for each in _findings(runs, equal)]
    return _findings(runs, equal)


def _findings(runs: dict[str, TunedRun], equal: float) -> list[CheckedClaim]:

    def pair(claim: str, name: str, worse: str) -> CheckedClaim:
        """Check the claim that ``name`` scores below the baseline; ``worse`` names it in the figures."""
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
        return CheckedClaim(claim, figures, "inconclusive: with 1e-5 it has not learned")
    more, equal = slow.holes - base.holes, _noise(runs, MIN_HOLE_MARGIN, lambda run: run.holes)
    return CheckedClaim(claim, figures, AGREES if more > equal else CONTRARY if more < -equal else NO_DIFFERENCE)


def _sgd(runs: dict[str, TunedRun]) -> CheckedClaim:
    claim = "SGD did not learn (Dice 0.4)"
    if "sgd" not in runs:
        return CheckedClaim(claim, "", "not run")
    run = runs["sgd"]
    figures = f"Dice {run.dice:.4f}; calling every pixel lung gives {run.result['all_lung_dice']:.4f}"
    if "baseline" not in runs:
        return CheckedClaim(claim, figures, "inconclusive: there is no baseline that has learned")
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
        return CheckedClaim(claim, figures, f"inconclusive: trained for {len(run.log)} epochs")
    if reached + MIN_PLATEAU_EPOCHS > len(run.log):
        return CheckedClaim(claim, figures, "inconclusive: still rising")
    if low <= reached <= high:
        return CheckedClaim(claim, figures, "confirmed, in one run")
    return CheckedClaim(claim, figures, f"contradicted, in one run: {'earlier' if reached < low else 'later'}")
