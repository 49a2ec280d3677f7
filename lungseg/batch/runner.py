"""What a person sees of a run: the bar, a line for each failure, and the summary; and when the reports are written."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lungseg.batch.entry import Entry
from lungseg.batch.manifest import Manifest
from lungseg.batch.process import BatchSpec
from lungseg.batch.report import run_summary, write_report, write_table
from lungseg.batch.scheduler import Scheduler
from lungseg.batch.source import ImageSource, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.batch.tally import Tally
from lungseg.batch.watch import FolderWatch
from lungseg.batch.worker_pool import WorkerPool
from lungseg.model.lung import load_lung
from lungseg.model.view import load_view
from lungseg.terminal import printable, say

REPORT_EVERY = 60
"""Seconds: the reports on a drop folder are written anew no more often, for they cover every image."""


LEFT_OUT = {
    SkipReason.CLOSED: ("failed", "this folder cannot be read; its images are not counted"),
    SkipReason.LINKED: ("skipped", "a link to a folder is not followed; name that folder to segment its images"),
}
"""What is said of something that is left out."""


@dataclass(frozen=True)
class RunSettings:
    """How to do what was ordered.

    Attributes:
        workers: processes.
        again: whether to do images that are done.
        timeout: seconds for one image.
        report, table: files to write, or None.
    """

    workers: int
    again: bool
    timeout: float
    report: Path | None
    table: Path | None


class BatchRunner:
    """One run of the command.

    Attributes:
        tally: the counts so far.
        complete: whether the reports could be written.
    """

    def __init__(
        self, source: ImageSource, order: BatchSpec, manifest: Manifest, stop: StopSignal, settings: RunSettings
    ) -> None:
        self.tally = Tally(order.formats)
        self.complete = True
        self._source, self._order, self._stop, self._settings = source, order, stop, settings
        self._workers = WorkerPool(order, settings.workers, manifest.fileno(), settings.timeout)
        self._run = Scheduler(order, manifest, self._workers, stop, settings.again)
        self._began, self._started = datetime.now(UTC), time.monotonic()
        self._left_out: dict[SkipReason, set[str]] = {kind: set() for kind in SkipReason}

    def once(self, count: int) -> None:
        """Do the folder as it is; ``count`` images are expected."""
        pace = 0.1 if sys.stderr.isatty() else 60  # a file needs no bar that moves
        with closing(self._workers), tqdm(total=count, unit="film", mininterval=pace) as bar:

            def seen(entry: Entry, before: bool) -> None:
                self.tally.count(entry, before)
                if entry.problem:
                    with bar.external_write_mode(sys.stderr):
                        say(_failure(entry))
                bar.update()

            self._run.films(self._source.films(), seen)
        self._end()

    def watch(self, every: float) -> None:
        """Do the folder, and what comes into it, until the run is to stop.

        Args:
            every: seconds between two looks, at least.
        """
        watch = FolderWatch(self._source)
        written: float | None = None
        news = True
        say(f"watching {printable(str(self._source.folder))}; Ctrl-C ends it")
        with closing(self._workers):
            while not self._stop.is_requested:
                films = watch.look(self.left_out)
                self._run.films(films, self._announce)
                news = news or bool(films)
                if news and (written is None or time.monotonic() - written > REPORT_EVERY):
                    self._write()
                    news, written = False, time.monotonic()
                self._stop.sleep(watch.rest(every))
        self._end()

    def left_out(self, kind: SkipReason, path: str) -> None:
        """Say, once, what is left out; outputs are only counted."""
        if path not in self._left_out[kind]:
            self._left_out[kind].add(path)
            if kind is not SkipReason.OUTPUT:
                say(f"{LEFT_OUT[kind][0]}: {printable(path)}: {LEFT_OUT[kind][1]}")

    def _announce(self, entry: Entry, before: bool) -> None:
        self.tally.count(entry, before)
        if entry.row is None:
            say(_failure(entry))
        elif not before:
            reasons = f": {entry.row['reasons']}" if entry.row["reasons"] else ""
            say(f"{entry.row['verdict']}: {printable(entry.path)}{reasons}")

    def _end(self) -> None:
        self._write()
        tally, seconds, target = self.tally, self._seconds(), printable(str(self._order.target))
        say(
            f"{tally.films} image{'s' * (tally.films != 1)}: {tally.segmented} segmented, {tally.before} done before, "
            f"{tally.failed} failed, in {seconds:.1f} s ({tally.worked / seconds:.1f} films/s); outputs in {target}"
        )
        for line in tally.lines():
            say(line)
        if outputs := len(self._left_out[SkipReason.OUTPUT]):
            say(f"skipped: {outputs} output{'s' * (outputs != 1)} of this program beside their images")

    def _write(self) -> None:
        """Write the reports that were asked for; a drop folder outlives a full disk."""
        try:
            if self._settings.table:
                write_table(self._settings.table, self._run.entries(self._source.films()))
            if self._settings.report:
                write_report(self._settings.report, self._head(), self._run.entries(self._source.films()))
            self.complete = True
        except OSError as error:
            self.complete = False
            say(f"failed: the reports cannot be written ({error.strerror})")

    def _head(self) -> dict[str, Any]:
        seconds = self._seconds()
        return {
            "started": self._began.isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
            "films_per_second": round(self.tally.worked / seconds, 2),
            "stopped": self._stop.is_requested,
            "workers": self._settings.workers,
            "closed_folders": sorted(self._left_out[SkipReason.CLOSED]),
            "linked_folders": sorted(self._left_out[SkipReason.LINKED]),
            "skipped_outputs": len(self._left_out[SkipReason.OUTPUT]),
            **run_summary(self.tally, self._order, load_lung(), load_view()),
        }

    def _seconds(self) -> float:
        return time.monotonic() - self._started


def _failure(entry: Entry) -> str:
    # Said to the person who named the folder; the service's own logs never name an image.
    problem = entry.problem or {}
    return f"failed: {printable(entry.path)}: {problem['code']}: {printable(problem['detail'])}"
