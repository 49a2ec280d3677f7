"""The counts of a run, as lines for the terminal and as members of the report. They identify nobody."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from lungseg.dicomweb.image_job import ImageOutcome
from lungseg.dicomweb.study_plan import StudyPlan
from lungseg.pipeline.reasons import Decision


class RunCounts:
    """What a run has done so far; threads add to it.

    Attributes:
        studies: number of studies that were looked at.
        todo: images that had no result, so far.
        pixel_bytes: bytes of their pixels without compression.
        done_before: images that had all their results.
        others: results of another model or threshold.
        segmented: images whose results were stored.
        failed: images and studies that failed.
        warnings: objects that the server changed while it stored them.
        left_out: instances for each reason.
        verdicts, reasons: images for each decision, and for each reason of a verdict.
        failures: images for each error code.
        omitted: images for each format that could not be produced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.studies = self.todo = self.pixel_bytes = self.done_before = self.others = 0
        self.segmented = self.failed = self.warnings = 0
        self.left_out: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.omitted: Counter[str] = Counter()

    @property
    def rejected(self) -> int:
        """Images that were segmented, but of which nothing was stored."""
        return self.verdicts.total() - self.segmented

    @property
    def doubtful(self) -> int:
        """Images whose verdict is review or reject."""
        return self.verdicts.total() - self.verdicts[Decision.ACCEPT]

    def add_plan(self, plan: StudyPlan, is_first: bool = True) -> None:
        """Count one study. When a study is looked at again, only new images count."""
        with self._lock:
            self.todo += len(plan.todo)
            self.pixel_bytes += sum(each.image.pixel_bytes for each in plan.todo)
            if not is_first:
                return
            self.studies += 1
            self.done_before += plan.done
            self.others += plan.others
            self.left_out.update(plan.left_out)

    def add_outcome(self, outcome: ImageOutcome) -> None:
        """Count one image."""
        with self._lock:
            self.verdicts[outcome.decision] += 1
            self.reasons.update(outcome.reasons)
            self.segmented += bool(outcome.stored)
            self.warnings += outcome.warnings
            self.omitted.update(outcome.problems)

    def add_failure(self, code: str) -> bool:
        """Count one failure; return whether it is the first with this code."""
        with self._lock:
            self.failed += 1
            self.failures[code] += 1
            return self.failures[code] == 1

    def lines(self) -> list[str]:
        """Return the counts as lines of text."""
        counts = {
            "left out": self.left_out,
            "verdicts": self.verdicts,
            "reasons": self.reasons,
            "failures": self.failures,
            "formats that could not be produced": self.omitted,
        }
        lines = [f"{name}: {_join_counts(values)}" for name, values in counts.items() if values]
        if self.others:
            lines.append(f"results of another model or threshold: {self.others}")
        if self.warnings:
            lines.append(f"stored with a warning, because the server changed elements: {self.warnings}")
        return lines

    def members(self) -> dict[str, Any]:
        """Return the counts as members of a JSON object."""
        return {
            "counts": {
                "studies": self.studies,
                "images_without_result": self.todo,
                "segmented": self.segmented,
                "rejected": self.rejected,
                "done_before": self.done_before,
                "failed": self.failed,
                "results_of_other_models": self.others,
                "stored_with_warning": self.warnings,
            },
            "left_out": dict(self.left_out.most_common()),
            "verdicts": dict(self.verdicts.most_common()),
            "reasons": dict(self.reasons.most_common()),
            "failures": dict(self.failures.most_common()),
            "omitted_formats": dict(self.omitted.most_common()),
        }


def _join_counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
