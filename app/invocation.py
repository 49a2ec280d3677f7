"""One invocation's images: done while there is time, and counted."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

from aws_lambda_powertools.metrics import Metrics, MetricUnit

from app.buckets.keys import ImageLocation
from app.buckets.process import ImageReport, Outcome, process_image
from app.buckets.requests import OutputRequest
from app.buckets.s3 import ObjectStore, StoreError
from app.buckets.settings import BucketSettings
from lungseg.errors import ModelError, raised_at

log = logging.getLogger(__name__)

METRICS_NAMESPACE = "LungSegmentation"

MIN_REMAINING_MS = 45_000
"""Time that must be left when an image is begun. The largest in all formats took up to 36 s of one processor, which is
what comes with the least memory that template.yaml allows (1,769 MB)."""


class UnsupportedEvent(Exception):
    """The event is of a kind this function does not serve. Lambda reports it as the invocation's error, so that an
    asynchronous event is kept for a retry and not lost behind a success."""


class OutOfTime(StoreError):
    """Too little of the invocation is left to begin another image; it is handed back."""


class UnexpectedFailure(StoreError):
    """An unexpected exception. It is handed back as a failure of S3 is, so that the other images of the batch are done,
    and this one is tried again."""


class Invocation:
    """One invocation: does images while there is time for them, and counts what became of them.

    Attributes:
        store, settings: of this function.
        counts: images by outcome, and "later" for those that must be tried again.
    """

    def __init__(self, context: Any, store: ObjectStore, settings: BucketSettings) -> None:
        """Args: context, Lambda's."""
        self._context = context
        self._longest = 0.0
        self.store, self.settings = store, settings
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def __call__(
        self, item: ImageLocation, order: OutputRequest | None = None, delivery: str | None = None
    ) -> ImageReport:
        """Do one image.

        Args:
            order: what to make; None is what its job asked for, or what the settings say.
            delivery: identifies a delivery that has come before (`app.buckets.crashes`).

        Raises:
            StoreError, ModelError: it is not done, and may be tried again.
        """
        started = time.monotonic()
        try:
            if self._context.get_remaining_time_in_millis() < max(MIN_REMAINING_MS, 2000 * self._longest):
                raise OutOfTime("Too little time is left for another image.")
            report = self._work(item, order, delivery)
        except (StoreError, ModelError) as error:
            self.counts["later"] += 1
            log.warning(
                "an image must come again: %s", error if isinstance(error, StoreError) else type(error).__name__
            )
            raise
        except Exception as error:
            self.counts["later"] += 1
            # Its text may name an object, and its context too.
            log.error("an image must come again: %s in %s", type(error).__name__, raised_at(error))
            raise UnexpectedFailure(f"An unexpected {type(error).__name__} stopped it.") from None
        self._longest = max(self._longest, time.monotonic() - started)
        self.counts[report.outcome] += 1
        if report.problem:
            self.codes[report.problem["code"]] += 1
        return report

    def _work(self, item: ImageLocation, order: OutputRequest | None, delivery: str | None) -> ImageReport:
        if item.bucket == self.settings.outputs:
            log.error("an event came from the bucket of masks; its trigger must be removed")
            return ImageReport(Outcome.GONE)
        return process_image(item, self.store, self.settings, order, delivery)

    def log_summary(self, milliseconds: float) -> None:
        """One line for the log, and the metrics; neither names an image."""
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items())) or "none"
        codes = ", ".join(f"{code} {count}" for code, count in sorted(self.codes.items()))
        log.info("films: %s%s; %.0f ms", counted, f" ({codes})" if codes else "", milliseconds)
        metrics = Metrics(namespace=METRICS_NAMESPACE, service="batch")
        for outcome in (*Outcome, "later"):
            metrics.add_metric(f"Films{outcome.capitalize()}", MetricUnit.Count, self.counts[outcome])
        metrics.flush_metrics()
