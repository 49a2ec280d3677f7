"""The report of a run (--report): counts, reasons, model and versions, without anything that identifies a patient."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lungseg import __version__
from lungseg.dicomweb.run_counts import RunCounts
from lungseg.dicomweb.runner import ArchiveRunner
from lungseg.files import write_atomically
from lungseg.model.lung import ModelIdentity
from lungseg.model.session import core_count

SECONDS_PER_IMAGE = 0.25
"""Core seconds for an image of 3.6 megapixels and its DICOM Segmentation: 0.15 were measured, and the rest waits."""


def write_run_report(path: Path, runner: ArchiveRunner) -> None:
    """Write the report.

    Raises:
        OSError.
    """
    plan, worker = runner.plan, runner.worker
    document: dict[str, Any] = {
        "started": runner.began.isoformat(timespec="seconds"),
        "seconds": round(runner.seconds, 2),
        "images_per_second": round(runner.counts.verdicts.total() / runner.seconds, 2),
        "stopped": runner.stop.is_requested,
        "dry_run": plan.is_dry,
        "error": None if runner.fatal is None else runner.fatal.code,
        "workers": plan.workers,
        **runner.counts.members(),
        "formats": list(plan.recipe.formats),
        "options": asdict(worker.options),
        "model": asdict(ModelIdentity.of(worker.models.lung)),
        "versions": {"program": __version__, "python": platform.python_version()},
    }
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())


def summary_lines(runner: ArchiveRunner) -> list[str]:
    """Return what the command prints at its end."""
    counts = runner.counts
    if runner.plan.is_dry:
        return [
            f"{_count(counts.studies, 'study', 'studies')}: {_count(counts.todo, 'image')} without a result, "
            f"{counts.done_before} done before",
            *counts.lines(),
            *_estimate_lines(counts),
        ]
    return [counts_line(runner), *counts.lines()]


def counts_line(runner: ArchiveRunner) -> str:
    """Return the counts of a run that is not dry as one line."""
    counts = runner.counts
    rate = counts.verdicts.total() / runner.seconds
    return (
        f"{_count(counts.studies, 'study', 'studies')}: {_count(counts.segmented, 'image')} segmented, "
        f"{counts.rejected} rejected, {counts.done_before} done before, {counts.failed} failed, "
        f"in {runner.seconds:.1f} s ({rate:.1f} images/s)"
    )


def _estimate_lines(counts: RunCounts) -> list[str]:
    """Return an estimate of the work of a dry run."""
    if not counts.todo:
        return ["estimate: nothing to do"]
    size = counts.pixel_bytes
    amount = f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
    seconds = counts.todo * SECONDS_PER_IMAGE / core_count()
    duration = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} minutes"
    return [
        f"estimate: {amount} to retrieve, if the images are not compressed; about {duration} on this machine, "
        "if the server and the network are not slower"
    ]


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
