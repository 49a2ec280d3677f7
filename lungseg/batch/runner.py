"""Run a batch and show it to the user: progress bar, a line for each failure, summary and reports."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lungseg.batch.entry import Entry, Failure
from lungseg.batch.manifest import Manifest
from lungseg.batch.plan import BatchSpec
from lungseg.batch.report import run_summary, write_report, write_table
from lungseg.batch.scheduler import Scheduler
from lungseg.batch.source import FolderSource, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.batch.tally import Tally
from lungseg.batch.watch import FolderWatch
from lungseg.batch.worker_pool import WorkerPool
from lungseg.model.models import load_models
from lungseg.terminal import elide_name, escape_name, print_status

MIN_REPORT_SECONDS = 60
"""Shortest time between two updates of the reports on a drop folder, because each covers every image."""

BAR_COLUMNS = 60
"""What counts, times and a short bar take: " 50%|####      | 500000/1000000 [1:30:00<1:30:00, 100.00image/s, name]"."""

SKIP_MESSAGES = {
    SkipReason.CLOSED: ("failed", "this folder cannot be read; its images are not counted"),
    SkipReason.LINKED: ("skipped", "symlinks to folders are not followed; name that folder to segment its images"),
}


@dataclass(frozen=True)
class RunSettings:
    """How to run a batch.

    Attributes:
        workers: number of processes.
        force: whether to process images that are done.
        timeout: seconds for one image.
        report, table: files to write, or None.
    """

    workers: int
    force: bool
    timeout: float
    report: Path | None
    table: Path | None


class BatchRunner:
    """One run of `batch`.

    Attributes:
        tally: the counts so far.
        has_reports: whether the requested reports could be written.
    """

    def __init__(
        self, source: FolderSource, spec: BatchSpec, manifest: Manifest, stop: StopSignal, settings: RunSettings
    ) -> None:
        spec = replace(spec, has_table=settings.table is not None)
        self.tally = Tally(spec.formats)
        self.has_reports = True
        self._source, self._spec, self._stop, self._settings = source, spec, stop, settings
        self._workers = WorkerPool(spec, settings.workers, manifest.descriptors, settings.timeout)
        self._scheduler = Scheduler(spec, manifest, self._workers, stop, settings.force)
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._skipped: dict[SkipReason, set[str]] = {reason: set() for reason in SkipReason}

    def run_once(self, count: int) -> None:
        """Process the folder as it is; ``count`` images are expected."""
        is_terminal = sys.stderr.isatty()
        interval = 0.1 if is_terminal else 60  # a log file needs no moving bar
        with closing(self._workers), tqdm(total=count, unit="image", mininterval=interval, dynamic_ncols=True) as bar:

            def on_entry(entry: Entry, is_from_before: bool) -> None:
                self.tally.add(entry, is_from_before)
                if isinstance(entry.outcome, Failure):
                    with bar.external_write_mode(sys.stderr):
                        print_status(_failure_line(entry.path, entry.outcome))
                if is_terminal:
                    bar.set_postfix_str(elide_name(entry.path, _name_columns()), refresh=False)
                bar.update()

            self._scheduler.process(self._source.images(), on_entry)
        self._finish()

    def run_watch(self, min_seconds: float) -> None:
        """Process the folder and the images that arrive in it, until a stop is requested.

        Args:
            min_seconds: shortest time between two scans.
        """
        watch = FolderWatch(self._source)
        written_at: float | None = None
        has_news = True
        print_status(f"watching {escape_name(str(self._source.folder))}; press Ctrl-C to stop")
        with closing(self._workers):
            while not self._stop.is_requested:
                images = watch.scan(self.report_skipped)
                self._scheduler.process(images, self._announce)
                has_news = has_news or bool(images)
                if has_news and (written_at is None or time.monotonic() - written_at > MIN_REPORT_SECONDS):
                    self._write_reports()
                    has_news, written_at = False, time.monotonic()
                self._stop.sleep(watch.next_delay(min_seconds))
        self._finish()

    def report_skipped(self, reason: SkipReason, path: str) -> None:
        """Print, once for each path, what is skipped; outputs are only counted."""
        if path not in self._skipped[reason]:
            self._skipped[reason].add(path)
            if reason is not SkipReason.OUTPUT:
                label, text = SKIP_MESSAGES[reason]
                print_status(f"{label}: {escape_name(path)}: {text}")

    def _announce(self, entry: Entry, is_from_before: bool) -> None:
        self.tally.add(entry, is_from_before)
        if isinstance(entry.outcome, Failure):
            print_status(_failure_line(entry.path, entry.outcome))
        elif not is_from_before:
            reasons = f": {entry.outcome['reasons']}" if entry.outcome["reasons"] else ""
            print_status(f"{entry.outcome['verdict']}: {escape_name(entry.path)}{reasons}")

    def _finish(self) -> None:
        self._write_reports()
        tally, seconds, target = self.tally, self._seconds(), escape_name(str(self._spec.target))
        print_status(
            f"{tally.images} image{'s' * (tally.images != 1)}: {tally.segmented} segmented, "
            f"{tally.done_before} done before, {tally.failed} failed, in {seconds:.1f} s "
            f"({tally.processed / seconds:.1f} images/s); outputs in {target}"
        )
        for line in tally.summary_lines():
            print_status(line)
        if outputs := len(self._skipped[SkipReason.OUTPUT]):
            print_status(f"skipped: {outputs} output{'s' * (outputs != 1)} of this program in the image folders")

    def _write_reports(self) -> None:
        """Write the requested reports. A full disk is reported, but does not end the watch of a drop folder."""
        try:
            if self._settings.table:
                write_table(self._settings.table, self._scheduler.entries(self._source.images()))
            if self._settings.report:
                entries = self._scheduler.entries(self._source.images())
                write_report(self._settings.report, self._summary(), entries)
            self.has_reports = True
        except OSError as error:
            self.has_reports = False
            print_status(f"failed: the reports cannot be written ({error.strerror})")

    def _summary(self) -> dict[str, Any]:
        seconds = self._seconds()
        return {
            "started": self._began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "images_per_second": round(self.tally.processed / seconds, 2),
            "stopped": self._stop.is_requested,
            "workers": self._settings.workers,
            "shard": str(self._spec.shard) if self._spec.shard else None,
            "closed_folders": sorted(self._skipped[SkipReason.CLOSED]),
            "linked_folders": sorted(self._skipped[SkipReason.LINKED]),
            "skipped_outputs": len(self._skipped[SkipReason.OUTPUT]),
            **run_summary(self.tally, self._spec, load_models()),
        }

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _name_columns() -> int:
    """Return how many columns of the terminal the progress bar leaves for the name of an image."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns - BAR_COLUMNS
    except (OSError, ValueError):
        return 0


def _failure_line(path: str, failure: Failure) -> str:
    # Printed for the user who named the folder. The service's own logs never contain an image's name.
    return f"failed: {escape_name(path)}: {failure.code}: {escape_name(failure.detail)}"
