"""Run over the studies of a server, with several workers, a progress bar and a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tqdm import tqdm

from lungseg.batch.stop import StopSignal
from lungseg.dicomweb.detail_list import DetailList
from lungseg.dicomweb.errors import DicomwebError
from lungseg.dicomweb.image_job import ImageWorker
from lungseg.dicomweb.results import ResultRecipe
from lungseg.dicomweb.run_counts import RunCounts
from lungseg.dicomweb.search import FoundStudy, StudySearch, find_studies
from lungseg.dicomweb.study_plan import ImageTodo, PlanRules, plan_study
from lungseg.errors import InternalError, ProblemError, raised_at
from lungseg.pipeline.reasons import Decision
from lungseg.terminal import print_status

MAX_LOST_IN_A_ROW = 5
"""A run ends when so many studies or images in a row failed because the server cannot be reached or used."""

DEFAULT_WORKERS = 4


@dataclass(frozen=True)
class RunPlan:
    """What a run does.

    Attributes:
        search: which studies to look at.
        recipe: what a result must be.
        rules: how to choose images.
        workers: studies at a time.
        is_dry: whether only to count.
    """

    search: StudySearch
    recipe: ResultRecipe
    rules: PlanRules
    workers: int = DEFAULT_WORKERS
    is_dry: bool = False


class ArchiveRunner:
    """One run over a server.

    Attributes:
        plan, worker, stop: as given.
        counts: the counts so far.
        began: when it started.
        fatal: the error that ended it early; None if there was none.
    """

    def __init__(self, plan: RunPlan, worker: ImageWorker, stop: StopSignal, details: DetailList | None = None) -> None:
        self.counts = RunCounts()
        self.began = datetime.now(UTC)
        self.fatal: DicomwebError | None = None
        self.plan, self.worker, self.stop = plan, worker, stop
        self._details = details
        self._started = time.monotonic()
        self._lost_in_a_row = 0
        self._settled: dict[str, int | None] = {}
        """The studies that were looked at, with the number of their instances if nothing was left to do."""
        self._rejected: set[str] = set()
        """The images of which nothing was stored: the server does not remember them."""

    @property
    def seconds(self) -> float:
        """The time since the run started."""
        return time.monotonic() - self._started

    def run_once(self) -> None:
        """Look at every study of the search once.

        Raises:
            DicomwebError: the search failed, or the server cannot be used any more.
        """
        studies = find_studies(self.worker.archive, self.plan.search)
        interval = 0.1 if sys.stderr.isatty() else 60  # a log file needs no moving bar
        with tqdm(total=len(studies), unit="study", mininterval=interval) as bar:
            self._process(studies, bar)
        if self.fatal is not None:
            raise self.fatal

    def run_watch(self, seconds: float, on_news: Callable[[], None]) -> None:
        """Repeat the search until a stop is requested. A server that cannot be reached is tried again.

        Args:
            seconds: between two searches.
            on_news: called after a search that changed the counts.

        Raises:
            DicomwebError: no later search would succeed either, for example after a rejected login.
        """
        print_status("watching the server; press Ctrl-C to stop")
        before = (0, 0)
        while not self.stop.is_requested:
            self.fatal, self._lost_in_a_row = None, 0
            try:
                studies = find_studies(self.worker.archive, self.plan.search)
                self._process([each for each in studies if self._may_be_new(each)], None)
            except DicomwebError as error:
                self.fatal = error
            if self.fatal is not None:
                if self.fatal.stops_run:
                    raise self.fatal
                print_status(f"failed: {self.fatal.line()}")
            if (now := (self.counts.verdicts.total(), self.counts.failed)) != before:
                before = now
                on_news()
            self.stop.sleep(seconds)

    def _process(self, studies: Iterable[FoundStudy], bar: tqdm[Any] | None) -> None:
        pool = ThreadPoolExecutor(self.plan.workers, "dicomweb")
        waiting: set[Future[None]] = set()
        try:
            for study in studies:
                if self._is_over():
                    break
                waiting.add(pool.submit(self._process_study, study, bar))
                if len(waiting) >= 2 * self.plan.workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    _raise_errors(done)
            _raise_errors(wait(waiting).done)
        finally:
            # After a second Ctrl-C nobody waits for the requests that are under way.
            pool.shutdown(wait=False, cancel_futures=True)

    def _is_over(self) -> bool:
        return self.stop.is_requested or self.fatal is not None

    def _process_study(self, study: FoundStudy, bar: tqdm[Any] | None) -> None:
        if self._is_over():
            return
        try:
            plan = plan_study(self.worker.archive, study.uid, self.plan.recipe, self.plan.rules)
        except Exception as error:
            self._note_failure(error, (study.uid, "", ""), bar)
            return
        self._lost_in_a_row = 0
        self.counts.add_plan(plan, study.uid not in self._settled)
        if not self.plan.is_dry:
            for todo in plan.todo:
                if self._is_over():
                    return
                self._process_image(todo, bar)
        is_settled = all(todo.image.instance in self._rejected for todo in plan.todo)
        self._settled[study.uid] = study.instances if is_settled else None
        if bar is not None:
            counts = self.counts
            bar.set_postfix(segmented=counts.segmented, done=counts.done_before, failed=counts.failed, refresh=False)
            bar.update()

    def _process_image(self, todo: ImageTodo, bar: tqdm[Any] | None) -> None:
        image = todo.image
        if image.instance in self._rejected:
            return
        try:
            outcome = self.worker.process_image(todo)
        except Exception as error:
            self._note_failure(error, image.uids, bar)
            return
        self._lost_in_a_row = 0
        if self._details is not None and outcome.decision != Decision.ACCEPT:
            self._details.add(*image.uids, outcome.decision, " ".join(outcome.reasons))
        if not outcome.stored:
            self._rejected.add(image.instance)
        self.counts.add_outcome(outcome)

    def _note_failure(self, error: Exception, uids: tuple[str, str, str], bar: tqdm[Any] | None) -> None:
        """Count a failure, and print the first one of each kind. Texts of unknown exceptions may quote the image."""
        if not isinstance(error, ProblemError | DicomwebError):
            error = InternalError(f"An unexpected {type(error).__name__} stopped it, in {raised_at(error)}.")
        if isinstance(error, DicomwebError) and error.is_outage:
            self._lost_in_a_row += 1
            if error.stops_run or self._lost_in_a_row >= MAX_LOST_IN_A_ROW:
                self.fatal = self.fatal or error
        if self._details is not None:
            self._details.add(*uids, "failed", error.code)
        if self.counts.add_failure(error.code):
            line = f"failed: {error.line()} Further failures of this kind are only counted."
            if bar is None:
                print_status(line)
            else:
                with bar.external_write_mode(sys.stderr):
                    print_status(line)

    def _may_be_new(self, study: FoundStudy) -> bool:
        """Return whether a study may have changed since it was found to need nothing."""
        return study.instances is None or self._settled.get(study.uid) != study.instances


def _raise_errors(done: Iterable[Future[None]]) -> None:
    for future in done:
        future.result()
