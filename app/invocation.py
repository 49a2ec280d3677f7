"""One Lambda invocation: process images while there is time, and count the outcomes."""

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
"""Time that must remain to start an image. The largest image in all formats took up to 36 s on one vCPU, which is what
the least memory that template.yaml allows comes with (1,769 MB)."""


class UnsupportedEvent(Exception):
    """The event is of an unknown kind. Lambda reports the exception as a failed invocation, so that an asynchronous
    event is retried and not lost as a success."""


class OutOfTime(StoreError):
    """Too little time is left to start another image; the event source sends it again."""


class UnexpectedFailure(StoreError):
    """An unexpected exception. It counts as a StoreError, so that the batch's other images are processed and this one
    is retried."""


class Invocation:
    """Process images while there is time, and count the outcomes.

    Attributes:
        store, settings: of this function.
        counts: images by outcome, and "later" for those to retry.
        codes: failed images by error code.
    """

    def __init__(self, context: Any, store: ObjectStore, settings: BucketSettings) -> None:
        """Args: context, Lambda's context object."""
        self._context = context
        self._longest = 0.0
        self.store, self.settings = store, settings
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def process(
        self, item: ImageLocation, request: OutputRequest | None = None, delivery: str | None = None
    ) -> ImageReport:
        """Process one image.

        Args:
            request: the outputs to make; None for those of its job, or else of the settings.
            delivery: identifies a repeated delivery (`app.buckets.crashes`).

        Raises:
            StoreError, ModelError: the image is not done; a retry may succeed.
        """
        started = time.monotonic()
        try:
            if self._context.get_remaining_time_in_millis() < max(MIN_REMAINING_MS, 2000 * self._longest):
                raise OutOfTime("Too little time is left for another image.")
            report = self._work(item, request, delivery)
        except (StoreError, ModelError) as error:
            self.counts["later"] += 1
            log.warning(
                "an image must be retried: %s", error if isinstance(error, StoreError) else type(error).__name__
            )
            raise
        except Exception as error:
            self.counts["later"] += 1
            # Its text may name an object, and so may its context.
            log.error("an image must be retried: %s in %s", type(error).__name__, raised_at(error))
            raise UnexpectedFailure(f"An unexpected {type(error).__name__} stopped the image.") from None
        self._longest = max(self._longest, time.monotonic() - started)
        self.counts[report.outcome] += 1
        if report.problem:
            self.codes[report.problem["code"]] += 1
        return report

    def _work(self, item: ImageLocation, request: OutputRequest | None, delivery: str | None) -> ImageReport:
        if item.bucket == self.settings.outputs:
            log.error("an event came from the output bucket; remove its trigger")
            return ImageReport(Outcome.GONE)
        return process_image(item, self.store, self.settings, request, delivery)

    def log_summary(self, milliseconds: float) -> None:
        """Log one line and publish the metrics; neither names an image."""
        counted = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.counts.items())) or "none"
        codes = ", ".join(f"{code} {count}" for code, count in sorted(self.codes.items()))
        log.info("images: %s%s; %.0f ms", counted, f" ({codes})" if codes else "", milliseconds)
        metrics = Metrics(namespace=METRICS_NAMESPACE, service="batch")
        for outcome in (*Outcome, "later"):
            metrics.add_metric(f"Images{outcome.capitalize()}", MetricUnit.Count, self.counts[outcome])
        metrics.flush_metrics()
