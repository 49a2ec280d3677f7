"""Select the rows that a run trains and validates on."""

from __future__ import annotations

from collections import Counter

import numpy as np

from model_export.config import Config
from model_export.data.index import Index, IndexRow


def split_rows(index: Index, config: Config) -> tuple[list[IndexRow], list[IndexRow]]:
    """Return the rows to train on and those to validate on.

    With ``config.folds``, the patients of ``config.fold_source`` in both splits are dealt to folds. Fold
    ``config.fold`` is for validation, the others are for training. No patient is in two folds.

    Raises:
        ValueError: there is no such fold.
    """
    rows = index.select("train", config.leave_out, config.sources)
    validation = index.select("validation", config.leave_out, config.sources)
    if not config.folds:
        return rows, validation
    if not 0 <= config.fold < config.folds:
        raise ValueError(f"fold is {config.fold}; with --folds {config.folds} it can be 0 to {config.folds - 1}")
    both = [row for row in rows + validation if row.source == config.fold_source]
    if not both:
        raise ValueError(f"fold_source is {config.fold_source}, which has no image to train on")
    fold_of = deal_patients(both, config.folds)
    rest = [[row for row in part if row.source != config.fold_source] for part in (rows, validation)]
    left_out = [row for row in both if fold_of[row.patient] == config.fold]
    return rest[0] + [row for row in both if fold_of[row.patient] != config.fold], rest[1] + left_out


def deal_patients(rows: list[IndexRow], folds: int) -> dict[str, int]:
    """Return each patient's fold, from 0; folds are equally large and always the same."""
    counts = Counter(row.patient for row in rows)
    patients = sorted(counts)
    np.random.default_rng(folds).shuffle(patients)
    filled = [0] * folds
    fold_of = {}
    # Patients with many images first, so that the last ones even out the folds.
    for patient in sorted(patients, key=lambda each: -counts[each]):
        fold_of[patient] = filled.index(min(filled))
        filled[fold_of[patient]] += counts[patient]
    return fold_of


def spread_rows(rows: list[IndexRow], most: int) -> list[IndexRow]:
    """Return at most ``most`` rows of each set, evenly spread; all if ``most`` is 0."""
    kept = []
    for source in sorted({row.source for row in rows}):
        own = [row for row in rows if row.source == source]
        count = min(len(own), most or len(own))
        kept += [own[position * len(own) // count] for position in range(count)]
    return kept


def read_shares(shares: tuple[str, ...]) -> dict[str, float]:
    """Return ``("montgomery=0.2", ...)`` as a dictionary.

    Raises:
        ValueError: a share is not NAME=NUMBER.
    """
    found = {}
    for text in shares:
        name, _, number = text.partition("=")
        try:
            found[name] = float(number)
        except ValueError:
            raise ValueError(f"a share is {text!r}; write it as montgomery=0.2") from None
    return found
